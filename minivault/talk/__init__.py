"""How models talk: what in their text is a thought, a call or an answer, and how they are told of tools.

Each family has its own marks for these; the tables here know them by the text of a model's chat template. Nothing here
knows of tokens, requests or dialects.
"""
