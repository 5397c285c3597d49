"""Where the time goes: exclusive phases, told by Lightning's profiler actions."""
