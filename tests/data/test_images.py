"""One picture file: the kinds that cameras and tools write, and the ways of being broken."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from kiso.data.images import BrokenImage, decode, resize

RNG = np.random.default_rng(0)


def file(im: Image.Image, form: str = "PNG", **options) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    im.save(buffer, form, **options)
    return buffer.getvalue()


def smooth(height: int = 40, width: int = 60) -> Image.Image:
    """A colour picture without edges, so that JPEG changes it little; its corners differ."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def test_rgb_and_grey_are_read_exactly():
    pixels = RNG.integers(0, 256, (5, 7, 3), np.uint8)
    assert (decode(file(Image.fromarray(pixels)), "a.png").pixels == pixels).all()
    grey = RNG.integers(0, 256, (5, 7), np.uint8)
    read = decode(file(Image.fromarray(grey)), "a.png")
    assert (read.pixels == grey[:, :, None]).all()
    assert read.notes == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file(smooth(), "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(content)) as im:
        expected = np.asarray(ImageOps.exif_transpose(im))
    read = decode(content, "a.jpg")
    assert (read.pixels == expected).all()
    assert (read.notes == []) == (orientation == 1)


def test_broken_exif_is_ignored():
    content = file(smooth(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's; read_pictures does the same
        assert decode(content, "a.jpg").pixels.shape == (40, 60, 3)


def test_palette():
    im = smooth().quantize(16)
    assert (decode(file(im), "a.png").pixels == np.asarray(im.convert("RGB"))).all()


def test_cmyk():
    content = file(smooth().convert("CMYK"), "JPEG", quality=95)
    read = decode(content, "a.jpg")
    assert np.abs(read.pixels.astype(int) - np.asarray(smooth())).mean() < 3
    assert any("CMYK" in note for note in read.notes)


def test_alpha_is_laid_over_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[..., 3] = [[0, 255], [128, 0]]
    read = decode(file(Image.fromarray(pixels, "RGBA")), "a.png")
    assert read.pixels[0, 0].tolist() == [255, 255, 255]
    assert read.pixels[0, 1].tolist() == [200, 0, 0]
    assert np.abs(read.pixels[1, 0].astype(int) - [227, 127, 127]).max() <= 1
    assert any("white" in note for note in read.notes)


def test_transparent_palette_and_grey_with_alpha():
    im = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    im.putpalette([10, 20, 30, 40, 50, 60] + [0] * 762)
    read = decode(file(im, transparency=0), "a.png")
    assert read.pixels[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    grey = Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8), "LA")
    assert decode(file(grey), "a.png").pixels[0].tolist() == [[100], [255]]


def test_one_bit():
    im = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert decode(file(im), "a.png").pixels[0].tolist() == [[0], [255]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits(form):
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    read = decode(file(Image.fromarray(values), form), f"a.{form.lower()}")
    assert read.pixels[0, :, 0].tolist() == [0, 100, 255]
    assert any("8 bits" in note for note in read.notes)


def test_sixteen_bit_colour():
    """Pillow cannot write it, so the PNG is put together by hand."""
    values = np.array([[[0, 25700, 65535], [65535, 25700, 0]]], ">u2")

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    content = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
               + chunk(b"IDAT", zlib.compress(b"\0" + values.tobytes())) + chunk(b"IEND", b""))
    read = decode(content, "a.png")
    assert np.abs(read.pixels[0].astype(int) - [[0, 100, 255], [255, 100, 0]]).max() <= 1
    assert any("8 bits" in note for note in read.notes)


def test_float_tiff():
    values = np.array([[0, 0.5, 1]], np.float32)
    assert decode(file(Image.fromarray(values), "TIFF"), "a.tif").pixels[0, :, 0].tolist() \
        == [0, 128, 255]
    with pytest.raises(BrokenImage, match="pixel values"):
        decode(file(Image.fromarray(values - 5), "TIFF"), "a.tif")
    with pytest.raises(BrokenImage, match="pixel values"):
        decode(file(Image.fromarray(values * np.float32("nan")), "TIFF"), "a.tif")


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_gives_its_first_frame(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = file(frames[0], form, save_all=True, append_images=frames[1:],
                   **({"lossless": True} if form == "WEBP" else {}))
    read = decode(content, f"a.{form.lower()}")
    assert read.pixels[0, 0].tolist() == [255, 0, 0]
    assert any("first" in note for note in read.notes)


def test_wrong_name_is_noted_but_read():
    read = decode(file(smooth()), "cat.jpg")
    assert read.pixels.shape == (40, 60, 3)
    assert read.notes == ["named .jpg but is PNG"]


def broken_files() -> dict[str, bytes]:
    """Content that gives no picture, by what is wrong with it."""
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
    return {"empty": b"", "text": b"not a picture at all, but long enough to be sniffed " * 20,
            "half JPEG": file(noise, "JPEG")[:2000], "half PNG": file(noise)[:5000],
            "half GIF": file(noise, "GIF")[:1500], "half WebP": file(noise, "WEBP")[:1000],
            "header only": file(noise, "JPEG")[:20], "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n" * 9,
            "PNG with a wrong sum": file(noise)[:60] + b"\0\0\0\0" + file(noise)[64:]}


@pytest.mark.parametrize("kind", broken_files())
def test_broken_content(kind, tmp_path):
    content = broken_files()[kind]
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    reasons = []
    for data in (content, path):
        with pytest.raises(BrokenImage) as caught:
            decode(data, "x.jpg", size=(16, 16))
        reasons.append(str(caught.value))
    assert all(reasons)


def header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels: only its header can be read."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr
    return start + struct.pack(">II", zlib.crc32(ihdr), 64) + b"IDAT" + bytes(68)


def test_bombs_are_refused_from_the_header():
    """The pixels are not touched: these files have none."""
    with pytest.raises(BrokenImage, match=r"60\.0 megapixels, more than the limit of 50"):
        decode(header_only(10_000, 6_000), "a.png")
    with pytest.raises(BrokenImage, match="cannot be decoded"):
        decode(header_only(10_000, 6_000), "a.png", max_pixels=60_000_000)
    with pytest.raises(BrokenImage, match="limit of 50 megapixels"):  # Pillow's own check
        decode(header_only(40_000, 40_000), "a.png")
    with pytest.raises(BrokenImage, match="limit of 179 megapixels"):
        decode(header_only(40_000, 40_000), "a.png", max_pixels=10**10)


def test_large_pictures_are_read_when_allowed(tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (10_000, 6_000)).save(path)
    assert decode(path, "large.png", size=(8, 8), max_pixels=60_000_000).pixels.shape == (8, 8, 1)


def test_grey_option_is_the_usual_luma():
    read = decode(file(smooth()), "a.png", grey=True)
    expected = np.asarray(smooth()) @ [0.299, 0.587, 0.114]
    assert np.abs(read.pixels[:, :, 0] - expected).max() <= 1


def bars(height: int, width: int) -> np.ndarray:
    """Left third red, middle green, right third blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    third = width // 3
    pixels[:, :third, 0] = pixels[:, third:-third, 1] = pixels[:, -third:, 2] = 255
    return pixels


def test_crop_keeps_the_middle():
    assert (resize(bars(20, 60), (20, 20), "crop")[:, 1:-1] == [0, 255, 0]).all()
    tall = np.ascontiguousarray(bars(20, 60).transpose(1, 0, 2))
    assert (resize(tall, (10, 10), "crop")[1:-1] == [0, 255, 0]).all()


def test_pad_keeps_everything_on_black():
    padded = resize(bars(20, 60), (30, 30), "pad")
    assert (padded[:10] == 0).all()
    assert (padded[20:] == 0).all()
    assert padded[15, 1].tolist() == [255, 0, 0]
    assert padded[15, -2].tolist() == [0, 0, 255]


def test_stretch_keeps_everything_and_fills():
    stretched = resize(bars(20, 60), (30, 30), "stretch")
    assert (stretched[:, 2] == [255, 0, 0]).all()
    assert (stretched[:, -3] == [0, 0, 255]).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 13), (640, 480)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_becomes_the_size_asked_for(fit, shape, channels):
    pixels = np.full((*shape, channels), 77, np.uint8)
    fitted = resize(pixels, (12, 20), fit)
    assert fitted.shape == (12, 20, channels)
    assert fitted.dtype == np.uint8
    assert set(np.unique(fitted)) <= ({0, 77} if fit == "pad" else {77})


def test_large_jpegs_are_read_at_reduced_size_without_visible_difference():
    im = smooth(800, 1200)
    content = file(im, "JPEG", quality=95)
    read = decode(content, "a.jpg", size=(32, 32)).pixels.astype(int)
    with Image.open(io.BytesIO(content)) as full:
        expected = resize(np.asarray(full), (32, 32)).astype(int)
    assert np.abs(read - expected).max() <= 4
