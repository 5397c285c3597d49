"""Times the Lightning Trainers of a program as it stands, without a change to it."""
