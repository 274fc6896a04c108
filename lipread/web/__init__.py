"""The web app: a page and an API over one loaded model. Only this package, and nothing it does not serve, needs gradio.

server.py serves · page.py lays out and wires · service.py holds what requests share · reading.py reads one video ·
many.py reads many · uploads.py visitors.py look after files · why.py shows what the network looked at ·
advice.py timeline.py about.py say it in words and HTML
"""
