"""Methods that weigh a layer's maps: Grad-CAM and ODAM."""
