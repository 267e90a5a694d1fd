"""What gunicorn serves: `gunicorn wsgi:app`."""

from minivault import create_app

app = create_app()
