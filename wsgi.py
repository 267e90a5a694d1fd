"""What gunicorn serves: `gunicorn wsgi:app`."""

from minivault.app import create_app

app = create_app()
