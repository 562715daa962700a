"""Programs for who works on the project; nothing of the product imports them."""
