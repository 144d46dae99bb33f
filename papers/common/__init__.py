"""What the papers share: data, models, training, runs; the only place with input and output."""
