"""Where the time goes: exclusive phases, timed by Lightning's profiler actions."""
