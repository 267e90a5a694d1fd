"""What is gunicorn's own: its hooks, its thread worker, and what they need.

gunicorn's main process imports this folder before prometheus_client may be imported, which looks only once for the
directory that the workers share: nothing here imports it at the top.
"""
