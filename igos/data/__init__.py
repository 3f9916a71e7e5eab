"""Pictures, and what is known of them: reading, folders, truth, targets, references, planted evidence."""
