"""Where raw clips come from: the embedded demo corpus, and folders of the user."""
