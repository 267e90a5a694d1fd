"""Who may ask, and how much.

This folder decides before a route runs and knows nothing of models, prompts or the vault. Only `guard` knows Flask.
Nothing here is opened before the fork; nothing here needs a server besides MiniVault.
"""
