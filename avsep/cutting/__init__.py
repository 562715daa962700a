"""Cut a long recording into clips in which one visible face speaks, alone."""
