"""Masks learnt by integrated-gradient steps: I-GOS, iGOS+, iGOS++."""
