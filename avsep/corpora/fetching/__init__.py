"""Download of corpora that anyone may have: whole archives, or single clips out of them."""
