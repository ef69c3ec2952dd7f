"""The page: what the API says, for people; rendered here, with a style sheet and one script of our own."""
