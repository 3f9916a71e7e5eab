"""Information bottlenecks, on a layer, on the input and on the words of a sentence."""
