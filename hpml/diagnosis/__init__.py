"""Proves where the time goes: short fits of a job from which one cost at a time is taken out."""
