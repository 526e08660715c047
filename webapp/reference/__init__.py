"""The address of the reference architecture, for its clients: `/score`."""
