"""Methods that ask for answers alone: RISE and D-RISE."""
