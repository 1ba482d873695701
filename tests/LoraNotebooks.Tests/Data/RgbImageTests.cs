using System.Buffers.Binary;
using LoraNotebooks.Data;
using SkiaSharp;
using static LoraNotebooks.Tests.Data.DatasetFolder;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Data;

public sealed class RgbImageTests
{
    [Theory]
    [InlineData(512, 64)]
    [InlineData(500, 64)]
    [InlineData(100, 99)]
    public void Resize_SmallerPicture_KeepsTheMeanColour(int from, int to)
    {
        var random = new Random(3);
        var pixels = new byte[3 * from * from];
        random.NextBytes(pixels);
        var image = new RgbImage(from, from, pixels);
        var resized = image.Resize(to, to);
        for (var channel = 0; channel < 3; channel++)
        {
            Assert.InRange(Mean(resized, channel) - Mean(image, channel), -1, 1);
        }
    }

    [Fact]
    public void Resize_FlatColourWithAnEdge_StaysFlatOnBothSides()
    {
        var left = Flat(256, 512, 250, 130, 7);
        var image = RgbImage.Grid([left, Flat(256, 512, 3, 64, 200)], 2, 0).Resize(64, 64);
        for (var y = 0; y < 64; y++)
        {
            Assert.Equal((250, 130, 7), image[31, y]);
            Assert.Equal((3, 64, 200), image[32, y]);
        }
    }

    [Fact]
    public void Resize_ThinLine_KeepsItsWeight()
    {
        var pixels = new byte[3 * 64 * 64];
        for (var y = 0; y < 64; y++)
        {
            pixels.AsSpan(3 * (y * 64 + 21), 3).Fill(255);
        }

        // One white column of eight: each pixel that covers it is an eighth white.
        Assert.Equal(32, new RgbImage(64, 64, pixels).Resize(8, 8)[2, 5].Red);
    }

    [Theory]
    [InlineData(64, 64)]
    [InlineData(64, 8)]
    [InlineData(8, 64)]
    public void Resize_LargerOrMixed_KeepsAFlatColour(int width, int height)
    {
        var image = Flat(16, 16, 200, 100, 50).Resize(width, height);
        Assert.Equal((width, height), (image.Width, image.Height));
        Assert.All(Enumerable.Range(0, width * height), i => Assert.Equal((200, 100, 50), image[i % width, i / width]));
    }

    [Fact]
    public void Mirror_Twice_GivesTheSamePicture()
    {
        var image = Picture(7, 5);
        Assert.Equal(image[0, 3], image.Mirror()[6, 3]);
        Assert.NotEqual(image.Pixels.ToArray(), image.Mirror().Pixels.ToArray());
        Assert.Equal(image.Pixels.ToArray(), image.Mirror().Mirror().Pixels.ToArray());
    }

    [Fact]
    public void Crop_APart_TakesThosePixels()
    {
        var image = Picture(9, 7);
        var part = image.Crop(2, 3, 4, 2);
        Assert.Equal(image[5, 4], part[3, 1]);
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Crop(6, 0, 4, 2));
    }

    [Fact]
    public void EncodePng_SamePixels_GivesTheSameBytesAndComesBack()
    {
        var image = Picture(33, 21);
        var png = image.EncodePng();
        Assert.Equal(png, new RgbImage(33, 21, image.Pixels.ToArray()).EncodePng());
        Assert.Equal(image.Pixels.ToArray(), RgbImage.Decode(png).Pixels.ToArray());
    }

    [Theory]
    [InlineData(SKEncodedImageFormat.Jpeg, 20)]
    [InlineData(SKEncodedImageFormat.Webp, 20)]
    [InlineData(SKEncodedImageFormat.Png, 0)]
    public void Decode_EachFormat_GivesThePicture(SKEncodedImageFormat format, int tolerance)
    {
        var image = RgbImage.Decode(Encode(Flat(24, 16, 40, 160, 90), format));
        Assert.Equal((24, 16), (image.Width, image.Height));
        Assert.InRange(image[12, 8].Green, 160 - tolerance, 160 + tolerance);
    }

    [Fact]
    public void Decode_Bmp_GivesThePicture()
    {
        // Header of 54 bytes, 2×1 pixels of 24 bits in blue, green, red, rows filled to 4 bytes.
        byte[] bmp =
        [
            .. "BM"u8, 62, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 24, 0, .. new byte[24], 1, 2, 3, 4, 5, 6, 0, 0
        ];
        var image = RgbImage.Decode(bmp);
        Assert.Equal((3, 2, 1), image[0, 0]);
        Assert.Equal((6, 5, 4), image[1, 0]);
        Assert.Equal("BMP", ImageFormats.OfContent(bmp));
    }

    [Fact]
    public void Decode_TransparentParts_LieOnWhite()
    {
        using var bitmap = new SKBitmap(new SKImageInfo(2, 1, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        bitmap.SetPixel(0, 0, new SKColor(10, 20, 30, 0));
        bitmap.SetPixel(1, 0, new SKColor(0, 100, 200, 128));
        using var data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        var image = RgbImage.Decode(data.ToArray());
        Assert.Equal((255, 255, 255), image[0, 0]);
        Assert.InRange(image[1, 0].Red, 126, 128);
        Assert.InRange(image[1, 0].Blue, 226, 228);
    }

    // The white corner of the stored picture is its upper left; where it lies in the upright one follows from EXIF's table of orientations.
    [Theory]
    [InlineData(1, 32, 16, 0, 0)]
    [InlineData(2, 32, 16, 1, 0)]
    [InlineData(3, 32, 16, 1, 1)]
    [InlineData(4, 32, 16, 0, 1)]
    [InlineData(5, 16, 32, 0, 0)]
    [InlineData(6, 16, 32, 1, 0)]
    [InlineData(7, 16, 32, 1, 1)]
    [InlineData(8, 16, 32, 0, 1)]
    public void Decode_ExifOrientation_TurnsThePictureUpright(byte orientation, int width, int height, int right, int bottom)
    {
        var pixels = new byte[3 * 32 * 16];
        for (var y = 0; y < 8; y++)
        {
            pixels.AsSpan(3 * y * 32, 3 * 8).Fill(255);
        }

        var jpeg = Encode(new RgbImage(32, 16, pixels), SKEncodedImageFormat.Jpeg);
        // APP1 with a TIFF header and one entry: tag 0x0112 (orientation), type SHORT, count 1.
        byte[] exif = [0xFF, 0xE1, 0, 34, .. "Exif\0\0"u8, .. "MM"u8, 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0];
        byte[] turned = [.. jpeg[..2], .. exif, .. jpeg[2..]];
        var image = RgbImage.Decode(turned);
        Assert.Equal((width, height), (image.Width, image.Height));
        Assert.Equal((width, height), ImageCodec.Size(turned, "photo"));
        Assert.InRange(image[right * (width - 3) + 1, bottom * (height - 3) + 1].Red, 230, 255);
        Assert.InRange(image[(1 - right) * (width - 3) + 1, (1 - bottom) * (height - 3) + 1].Red, 0, 25);
    }

    [Fact]
    public void Load_EmptyCutOffOrNoImage_ThrowsAndNamesTheFile()
    {
        using var folder = new DatasetFolder();
        var png = Picture(40, 40).EncodePng();
        folder.Bytes("empty.png", []).Bytes("cut.png", png[..(png.Length / 2)]).Bytes("header.png", png[..20]).Text("words.png", "not an image");
        Assert.Contains("empty", Fault("empty.png"));
        Assert.Contains("damaged or cut off", Fault("cut.png"));
        Assert.Contains("damaged or cut off", Fault("header.png"));
        Assert.Contains("not an image", Fault("words.png"));
        Assert.All(["absent.png", "absent/a.png", "."], file => Assert.Throws<FileNotFoundException>(() => RgbImage.Load(folder[file])));

        string Fault(string file)
        {
            var error = Assert.Throws<InvalidDataException>(() => RgbImage.Load(folder[file]));
            Assert.Contains(file, error.Message);
            return error.Message;
        }
    }

    [Fact]
    public void Decode_HeaderThatClaimsAHugePicture_ThrowsWithoutTheMemory()
    {
        var png = Picture(4, 4).EncodePng();
        png.AsSpan(16, 8).Clear();
        (png[17], png[21]) = (1, 1);
        // The header's checksum must fit, or it is refused before its size is looked at.
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(29), Crc32(png.AsSpan(12, 17)));
        Assert.Contains("65536×65536", Assert.Throws<InvalidDataException>(() => RgbImage.Decode(png)).Message);
    }

    [Fact]
    public void Tensor_ThereAndBack_GivesTheSamePixels()
    {
        var image = Picture(6, 4);
        using var tensor = image.ToTensor();
        Assert.Equal([3, 4, 6], tensor.shape);
        Assert.Equal(image[2, 1].Green / 127.5f - 1, tensor[1, 1, 2].item<float>(), 1e-6f);
        Assert.Equal(image.Pixels.ToArray(), RgbImage.FromTensor(tensor).Pixels.ToArray());
    }

    [Fact]
    public void FromTensor_Values_AreClampedAndRounded()
    {
        float[] values = [-2, -1, -0.9999f, 0, 0.0001f, 0.999f, 1, 1.5f, -0.5f, 0.5f, 0.25f, -0.25f];
        using var pixels = tensor(values, [3, 2, 2]);

        var image = RgbImage.FromTensor(pixels);

        Assert.Equal((2, 2), (image.Width, image.Height));
        for (var i = 0; i < 12; i++)
        {
            var exact = (Math.Clamp((double)values[i], -1, 1) + 1) * 127.5;
            Assert.Equal(exact, image.Pixels[3 * (i % 4) + i / 4], 0.501);
        }

        Assert.Equal(values, pixels.data<float>().ToArray());
        Assert.Contains("has the shape [3, H, W], got [1, 2, 2]", Assert.Throws<ArgumentException>(() => RgbImage.FromTensor(zeros(1, 2, 2))).Message);
        Assert.Contains("got [1, 3, 2, 2]", Assert.Throws<ArgumentException>(() => RgbImage.FromTensor(zeros(1, 3, 2, 2))).Message);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void FromTensor_NumberThatIsNotFinite_IsRefused(float value)
    {
        using var pixels = zeros(3, 2, 2);
        pixels[2, 1, 0] = value;
        Assert.Contains("got some that are not", Assert.Throws<ArgumentException>(() => RgbImage.FromTensor(pixels)).Message);
    }

    [Fact]
    public void ToTensor_SeveralImages_AreABatchInOrder()
    {
        RgbImage[] images = [Picture(3, 2, 1), Picture(3, 2, 2)];
        using var batch = RgbImage.ToTensor(images);

        Assert.Equal([2, 3, 2, 3], batch.shape);
        for (var i = 0; i < 2 * 18; i++)
        {
            var (n, channel, y, x) = (i / 18, i % 18 / 6, i % 6 / 3, i % 3);
            Assert.Equal(images[n].Pixels[3 * (3 * y + x) + channel] / 127.5 - 1, batch[n, channel, y, x].item<float>(), 1e-6);
        }
    }

    [Fact]
    public void SavePng_WhoReadsMeanwhile_SeesTheFormerFileWhole()
    {
        using var folder = new DatasetFolder();
        var before = Picture(4, 4, 1).EncodePng();
        folder.Bytes("a.png", before);
        using var reader = new FileStream(folder["a.png"], FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);

        Picture(4, 4, 2).SavePng(folder["a.png"]);

        var read = new byte[before.Length];
        reader.ReadExactly(read);
        Assert.Equal(before, read);
        Assert.Equal(Picture(4, 4, 2).Pixels.ToArray(), RgbImage.Load(folder["a.png"]).Pixels.ToArray());
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void Grid_ThreeImagesInTwoColumns_StandsInRowsWithPadding()
    {
        var grid = RgbImage.Grid([Flat(4, 4, 1, 1, 1), Flat(4, 4, 2, 2, 2), Flat(2, 2, 3, 3, 3)], 2, 1);
        Assert.Equal((11, 11), (grid.Width, grid.Height));
        Assert.Equal((255, 255, 255), grid[0, 0]);
        Assert.Equal((1, 1, 1), grid[1, 1]);
        Assert.Equal((2, 2, 2), grid[9, 4]);
        Assert.Equal((255, 255, 255), grid[1, 6]);
        Assert.Equal((3, 3, 3), grid[2, 7]);
        Assert.Equal((255, 255, 255), grid[8, 8]);
        Assert.Throws<ArgumentException>(() => RgbImage.Grid([]));
    }

    private static double Mean(RgbImage image, int channel)
    {
        var sum = 0L;
        for (var i = channel; i < image.Pixels.Length; i += 3)
        {
            sum += image.Pixels[i];
        }

        return (double)sum / (image.Width * image.Height);
    }

    private static uint Crc32(ReadOnlySpan<byte> bytes)
    {
        var crc = uint.MaxValue;
        foreach (var b in bytes)
        {
            crc ^= b;
            for (var bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320u);
            }
        }

        return ~crc;
    }
}
