import io

from PIL import Image


def handle(data):
    picture = Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_90)
    output = io.BytesIO()
    picture.save(output, "PNG")
    return output.getvalue()
