"""Q varied at a fixed function, which the paper lacks: does Q decide sharpness and rate, or the weights' scale?"""
