"""What a server tells of its work beside the vault: a line for each request, a trace for whoever collects them.

Nothing here holds a word of a prompt or an answer, and nothing here makes an answer wait.
"""
