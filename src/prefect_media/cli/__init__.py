"""The command line and the demo; imports everything."""
