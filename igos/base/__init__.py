"""What knows nothing of explanations: errors, untrusted input, whole files, hashes, settings, boxes, tensor maths."""
