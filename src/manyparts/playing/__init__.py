"""A page in a browser: watch an agent live, prompt it, disturb it, take over, record episodes."""
