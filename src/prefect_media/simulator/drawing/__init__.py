"""Pictures and clips that the simulator draws from a prompt; imports nothing of ours."""
