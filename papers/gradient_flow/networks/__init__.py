"""Models and runs that several experiments share."""
