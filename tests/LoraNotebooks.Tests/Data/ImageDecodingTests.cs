using LoraNotebooks.Data;
using SkiaSharp;
using static LoraNotebooks.Tests.Data.DatasetFolder;

namespace LoraNotebooks.Tests.Data;

/// <summary>What is made of an encoded picture, pixel by pixel: its orientation, its transparent parts, its faults.</summary>
public sealed class ImageDecodingTests
{
    /// <summary>Six pixels of their own colours, stored as the rows abc and def.</summary>
    private const string Stored = "abcdef";

    // The rows of the upright picture, by EXIF's table of what the stored first row and first column are: 1 top and left, 2 top and right, 3 bottom and
    // right, 4 bottom and left, 5 left and top, 6 right and top, 7 right and bottom, 8 left and bottom.
    [Theory]
    [InlineData(1, "abc/def")]
    [InlineData(2, "cba/fed")]
    [InlineData(3, "fed/cba")]
    [InlineData(4, "def/abc")]
    [InlineData(5, "ad/be/cf")]
    [InlineData(6, "da/eb/fc")]
    [InlineData(7, "fc/eb/da")]
    [InlineData(8, "cf/be/ad")]
    [InlineData(0, "abc/def")]
    [InlineData(9, "abc/def")]
    public void Decode_OrientationOfAPng_PutsEveryPixelInItsPlace(byte orientation, string upright)
    {
        var rows = upright.Split('/');
        foreach (var isLittle in new[] { true, false })
        {
            var png = Png(("eXIf", ForeignImage.Exif(orientation, isLittle)));

            Assert.Equal(rows, Rows(RgbImage.Decode(png)));
            Assert.Equal((rows[0].Length, rows.Length), ImageCodec.Size(png, "photo"));
        }
    }

    [Theory]
    [InlineData(1, "abc/def")]
    [InlineData(2, "cba/fed")]
    [InlineData(3, "fed/cba")]
    [InlineData(4, "def/abc")]
    [InlineData(5, "ad/be/cf")]
    [InlineData(6, "da/eb/fc")]
    [InlineData(7, "fc/eb/da")]
    [InlineData(8, "cf/be/ad")]
    public void Decode_OrientationOfAJpeg_PutsEveryPartInItsPlace(byte orientation, string upright)
    {
        // Blocks of 16×16 pixels, so that the middle of each keeps its colour.
        var jpeg = Encode(RgbImage.Grid([.. Stored.Select(static letter => Flat(16, 16, Red(letter), 128, 255))], 3, 0), SKEncodedImageFormat.Jpeg);
        byte[] exif = [.. "Exif\0\0"u8, .. ForeignImage.Exif(orientation, isLittle: false)];
        byte[] turned = [.. jpeg[..2], 0xFF, 0xE1, 0, (byte)(exif.Length + 2), .. exif, .. jpeg[2..]];

        var image = RgbImage.Decode(turned);

        var rows = upright.Split('/');
        Assert.Equal((16 * rows[0].Length, 16 * rows.Length), (image.Width, image.Height));
        Assert.Equal(
            rows,
            Enumerable.Range(0, rows.Length).Select(
                y => string.Concat(Enumerable.Range(0, rows[0].Length).Select(x => Letter(image[16 * x + 8, 16 * y + 8].Red)))));
    }

    // Directories of EXIF after the mark "II", 42: where the first one lies, its entries, and the orientation that counts.
    [Theory]
    [InlineData(8, "2: 0100 5, 0112 3", "fed/cba")]
    [InlineData(8, "2: 0112 3, 0112 2", "fed/cba")]
    [InlineData(12, "1: 0112 3", "fed/cba")]
    [InlineData(8, "1: 0100 3", "abc/def")]
    [InlineData(8, "9: 0100 5, 0112 3", "fed/cba")]
    [InlineData(8, "9: 0100 5", "abc/def")]
    [InlineData(8, "1: 0100 5, 0112 3", "abc/def")]
    [InlineData(8, "0: 0112 3", "abc/def")]
    public void Decode_Directory_IsReadEntryByEntry(byte offset, string directory, string upright)
    {
        var entries = directory[3..].Split(", ").SelectMany(
            static entry => (byte[])[Convert.ToByte(entry[2..4], 16), Convert.ToByte(entry[..2], 16), 3, 0, 1, 0, 0, 0, (byte)(entry[5] - '0'), 0, 0, 0]);
        byte[] exif = [.. "II"u8, 42, 0, offset, 0, 0, 0, .. new byte[offset - 8], (byte)(directory[0] - '0'), 0, .. entries];

        Assert.Equal(upright.Split('/'), Rows(RgbImage.Decode(Png(("eXIf", exif)))));
    }

    [Fact]
    public void Decode_DamagedExif_LiesAsItIsStored()
    {
        var exif = ForeignImage.Exif(3, isLittle: true);
        byte[][] damaged =
        [
            [], exif[..13], exif[..21], [(byte)'I', (byte)'M', .. exif[2..]], [(byte)'X', (byte)'X', .. exif[2..]],
            [.. exif[..2], 43, .. exif[3..]], [.. exif[..3], 1, .. exif[4..]],
            [.. exif[..4], 0xFF, 0xFF, 0xFF, 0xFF, .. exif[8..]], [.. exif[..4], 25, 0, 0, 0, .. exif[8..]],
        ];

        Assert.Equal(["fed", "cba"], Rows(RgbImage.Decode(Png(("eXIf", exif)))));
        Assert.Equal(["fed", "cba"], Rows(RgbImage.Decode(Png(("eXIf", exif[..22])))));
        Assert.Equal(["fed", "cba"], Rows(RgbImage.Decode(Png(("tEXt", [1, 2, 3]), ("eXIf", exif)))));
        Assert.All(damaged, bytes => Assert.Equal(["abc", "def"], Rows(RgbImage.Decode(Png(("eXIf", bytes))))));
    }

    [Theory]
    [InlineData(new byte[] { 0, 0, 0, 2, 0, 0, 0, 0 }, 2)]
    [InlineData(new byte[] { 0, 0, 1, 0, 0, 0, 0, 0 }, 256)]
    [InlineData(new byte[] { 255, 255, 255, 255, 0, 0, 0, 0 }, int.MaxValue)]
    [InlineData(new byte[] { 0, 0, 0, 1, 0, 0, 0, 0 }, 1)]
    [InlineData(new byte[] { 0, 0, 0, 7, 0, 0, 0 }, 1)]
    public void Frames_AnimationOfAPng_AreCounted(byte[] animation, int frames)
    {
        Assert.Equal(frames, ImageCodec.Frames(Png(("acTL", animation)), "moving"));
        Assert.Equal(1, ImageCodec.Frames(Png(), "still"));
        Assert.Equal(1, ImageCodec.Frames(Encode(Flat(2, 2, 1, 2, 3), SKEncodedImageFormat.Jpeg), "still"));
    }

    [Fact]
    public void Chunks_CutOff_AreNotRead()
    {
        var png = Png(("eXIf", ForeignImage.Exif(3, true)), ("acTL", [0, 0, 0, 9, 0, 0, 0, 0]));
        var end = png.AsSpan().IndexOf("acTL"u8) + 4 + 8 + 4;
        for (var length = 0; length <= png.Length; length++)
        {
            Assert.Equal(length >= end ? 9 : 1, PngChunks.Frames(png.AsSpan(0, length)));
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(127)]
    [InlineData(128)]
    [InlineData(254)]
    [InlineData(255)]
    public void Decode_TransparentParts_LieOnWhiteToTheByte(byte alpha)
    {
        byte[] values = [0, 1, 100, 127, 128, 254, 255];
        var image = RgbImage.Decode(ForeignImage.Png(values.Length, [[.. values.SelectMany(value => (byte[])[value, (byte)(255 - value), 7, alpha])]], 8, 6));
        for (var x = 0; x < values.Length; x++)
        {
            Assert.Equal((OnWhite(values[x]), OnWhite(255 - values[x]), OnWhite(7)), image[x, 0]);
        }

        byte OnWhite(int value) => (byte)Math.Floor((value * alpha + 255.0 * (255 - alpha)) / 255 + 0.5);
    }

    [Fact]
    public void Decode_MarksAndFillBytesBeforeTheFrame_ArePassedOver()
    {
        byte[] ink = [60, 120, 200, 40];
        var plain = ForeignImage.Jpeg(ink);
        var expected = RgbImage.Decode(plain)[3, 3];
        byte[] comment = [0xFF, 0xFE, 0, 9, .. "Adobe"u8, 1, 2];
        byte[] otherMark = [0xFF, 0xEE, 0, 9, .. "Abode"u8, 1, 2];
        byte[] adobe = [0xFF, 0xEE, 0, 14, .. "Adobe"u8, 0, 100, 0, 0, 0, 0, 0];

        Assert.True(CmykJpeg.IsPlain(plain));
        foreach (var before in new[] { comment, otherMark, [0xFF, 0xFF, .. comment[1..]], [.. comment, .. comment] })
        {
            byte[] file = [.. plain[..2], .. before, .. plain[2..]];
            Assert.True(CmykJpeg.IsPlain(file));
            Assert.Equal(expected, RgbImage.Decode(file)[3, 3]);
        }

        Assert.False(CmykJpeg.IsPlain([.. plain[..2], .. adobe, .. plain[2..]]));
        Assert.False(CmykJpeg.IsPlain([.. plain[..2], 0xFF, .. adobe, .. adobe, .. plain[2..]]));
        Assert.True(CmykJpeg.IsPlain([.. plain, .. adobe]));
        Assert.False(CmykJpeg.IsPlain(ForeignImage.Jpeg([1, 2, 3])));
        Assert.False(CmykJpeg.IsPlain(ForeignImage.Jpeg([1])));
        Assert.False(CmykJpeg.IsPlain(plain[1..]));
        Assert.False(CmykJpeg.IsPlain(Flat(4, 4, 1, 2, 3).EncodePng()));

        // Cut within the frame's header there is no frame; after it there is.
        var frame = plain.AsSpan().IndexOf((byte[])[0xFF, 0xC0]);
        for (var length = 0; length <= frame + 2 + 20; length++)
        {
            Assert.Equal(length >= frame + 2 + 20, CmykJpeg.IsPlain(plain[..length]));
        }
    }

    [Fact]
    public void IsPlain_FrameHeader_IsToldByItsMarkerAndHoldsItsComponents()
    {
        var plain = ForeignImage.Jpeg([60, 120, 200, 40]);
        var frame = plain.AsSpan().IndexOf((byte[])[0xFF, 0xC0]);
        byte[] frames = [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF];
        for (byte marker = 0xBF; marker <= 0xD0; marker++)
        {
            Assert.Equal(frames.Contains(marker), CmykJpeg.IsPlain([.. plain[..(frame + 1)], marker, .. plain[(frame + 2)..]]));
        }

        // A header of another length, with which the file ends or goes on.
        for (var length = 2; length <= 20; length++)
        {
            byte[] head = [.. plain[..(frame + 2)], 0, (byte)length, .. plain[(frame + 4)..(frame + 2 + length)]];
            Assert.Equal(length == 20, CmykJpeg.IsPlain(head));
            Assert.Equal(length == 20, CmykJpeg.IsPlain([.. head, .. plain[(frame + 22)..]]));
        }

        byte[] comment = [0xFF, 0xFE, 0, 16, .. new byte[14]];
        Assert.True(CmykJpeg.IsPlain([.. plain[..(frame + 22)], .. comment, .. plain[(frame + 22)..]]));
        Assert.True(CmykJpeg.IsPlain([.. plain[..frame], 0xFF, .. plain[frame..]]));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Decode_MarkWithoutContent_IsPassedOver(byte length)
    {
        var plain = ForeignImage.Jpeg([60, 120, 200, 40]);
        byte[] file = [.. plain[..2], 0xFF, 0xEE, 0, length, .. plain[2..]];

        Assert.True(CmykJpeg.IsPlain(file));
        Assert.Equal(RgbImage.Decode(plain)[3, 3], RgbImage.Decode(file)[3, 3]);
    }

    [Fact]
    public void Decode_CmykProducts_AreDividedAndRoundedToTheNearest()
    {
        // All products with a flat ink of 128: the three inks along the rows, black down the columns.
        var products = new Queue<RgbImage>([Ramp(static (x, _) => x), Ramp(static (_, y) => y)]);

        var image = CmykJpeg.Decode(ForeignImage.Jpeg([1, 2, 3, 4]), _ => products.Dequeue());

        for (var i = 0; i < 129 * 129; i++)
        {
            var left = (255 - Ink(i % 129)) * (255 - Ink(i / 129)) / 255;
            Assert.Equal((byte)Math.Floor(left + 0.5), image[i % 129, i / 129].Green);
        }

        static double Ink(int product) => Math.Min(255, Math.Floor((product * 255 / 128.0) + 0.5));

        static RgbImage Ramp(Func<int, int, int> value) =>
            new(129, 129, [.. Enumerable.Range(0, 3 * 129 * 129).Select(i => (byte)value(i / 3 % 129, i / 3 / 129))]);
    }

    [Theory]
    [InlineData(16384, 16384, true)]
    [InlineData(16384, 16385, false)]
    public void Size_HeaderOfManyPixels_IsBelievedUpToTwoToThe28(int width, int height, bool isBelieved)
    {
        var png = ForeignImage.Png(width, [[0]], 8, 0);
        byte[] header = [0, 0, (byte)(width >> 8), (byte)width, 0, 0, (byte)(height >> 8), (byte)height, 8, 0, 0, 0, 0];
        png = [.. png[..8], .. ForeignImage.Chunk("IHDR", header), .. png[33..]];
        if (isBelieved)
        {
            Assert.Equal((width, height), ImageCodec.Size(png, "large"));
            return;
        }

        Assert.Equal(
            $"large claims {width}×{height} pixels, expected at most 268,435,456. Make it smaller or remove it.",
            Assert.Throws<InvalidDataException>(() => ImageCodec.Size(png, "large")).Message);
    }

    [Theory]
    [InlineData("", "a.png is empty (0 bytes). Copy it again or remove it.")]
    [InlineData("words", "a.png is not an image that can be read (PNG, JPEG, WebP, BMP, GIF). Convert it or remove it.")]
    [InlineData("II*\0....", "a.png is a TIFF file, which is not read. Convert it to PNG, JPEG, WebP or BMP.")]
    [InlineData("\u0089PNG\r\n\u001A\n", "a.png is damaged or cut off: it begins as PNG, but its header cannot be read. Copy it again or remove it.")]
    public void Decode_NoImage_SaysWhatItIs(string content, string message) =>
        Assert.Equal(message, Assert.Throws<InvalidDataException>(() => RgbImage.Decode(System.Text.Encoding.Latin1.GetBytes(content), "a.png")).Message);

    [Fact]
    public void Decode_PictureThatIsCutOff_IsDamaged()
    {
        var png = Flat(40, 40, 1, 2, 3).EncodePng();
        Assert.StartsWith("a.png is damaged or cut off (", Assert.Throws<InvalidDataException>(() => RgbImage.Decode(png[..^30], "a.png")).Message);
    }

    private static byte[] Png(params (string Type, byte[] Content)[] chunks) =>
        ForeignImage.Png(3, [.. Stored.Chunk(3).Select(static row => row.SelectMany(static letter => (byte[])[Red(letter), 0, 9]).ToArray())], 8, 2, chunks);

    private static byte Red(char letter) => (byte)(40 * (letter - 'a'));

    private static char Letter(byte red) => (char)('a' + (int)Math.Round(red / 40.0));

    private static string[] Rows(RgbImage image) =>
        [.. Enumerable.Range(0, image.Height).Select(y => string.Concat(Enumerable.Range(0, image.Width).Select(x => Letter(image[x, y].Red))))];
}
