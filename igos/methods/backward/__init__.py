"""Methods that change what layers hand back: guided backpropagation and patterns."""
