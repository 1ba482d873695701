using System.Text;
using LoraNotebooks.Data;

namespace LoraNotebooks.Tests.Data;

/// <summary>Formats by the first bytes and by names.</summary>
public sealed class ImageFormatTests
{
    [Theory]
    [InlineData("\u0089PNG\r\n\u001A\n", "PNG")]
    [InlineData("\u0089PNG\r\n\u001A", null)]
    [InlineData("\u00FF\u00D8\u00FF", "JPEG")]
    [InlineData("\u00FF\u00D8", null)]
    [InlineData("RIFF....WEBP", "WebP")]
    [InlineData("RIFF....WAVE", null)]
    [InlineData("BM....\0\0\0\0", "BMP")]
    [InlineData("BM is a word", null)]
    [InlineData("GIF87a", "GIF")]
    [InlineData("GIF", null)]
    [InlineData("II*\0", "TIFF")]
    [InlineData("MM\0*", "TIFF")]
    [InlineData("MM*\0", null)]
    [InlineData("8BPS", "Photoshop")]
    [InlineData("....ftypavif", "AVIF or HEIC")]
    [InlineData("....ftypheic", "AVIF or HEIC")]
    [InlineData("....ftypmif1", "AVIF or HEIC")]
    [InlineData("....ftypqt", null)]
    [InlineData("\u00FF\n", "JPEG XL")]
    [InlineData("\0\0\0\u000CJXL ", "JPEG XL")]
    [InlineData("", null)]
    [InlineData("words", null)]
    public void OfContent_FirstBytes_TellTheFormat(string head, string? format)
    {
        var bytes = Encoding.Latin1.GetBytes(head);
        using var folder = new DatasetFolder();

        Assert.Equal(format, ImageFormats.OfContent(bytes));
        Assert.Equal(format, ImageFormats.OfContent(folder.Bytes("file", bytes)["file"]));
    }

    [Theory]
    [InlineData(".png", "PNG")]
    [InlineData(".jpg", "JPEG")]
    [InlineData(".jpeg", "JPEG")]
    [InlineData(".webp", "WebP")]
    [InlineData(".bmp", "BMP")]
    [InlineData(".txt", null)]
    [InlineData("", null)]
    public void OfName_Extension_PromisesAFormat(string extension, string? format)
    {
        Assert.Equal(format, ImageFormats.OfName("a" + extension));
        Assert.Equal(format, ImageFormats.OfName("A" + extension.ToUpperInvariant()));
        Assert.False(ImageFormats.IsOtherImage("a" + extension));
        Assert.Equal(format is not null, ImageFormats.Supported.Replace(" or", ",").Split(", ").Contains(extension));
    }

    [Theory]
    [InlineData(".gif .tif .tiff .avif .heic .heif .jxl .jp2 .jfif .psd .svg .ico .tga .exr .hdr .raw .dng .cr2 .nef .arw .xcf .kra")]
    public void IsOtherImage_KindsThatAreNotRead_AreKnownAsImages(string extensions) => Assert.All(extensions.Split(' '), static extension =>
    {
        Assert.True(ImageFormats.IsOtherImage("a" + extension));
        Assert.True(ImageFormats.IsOtherImage("A" + extension.ToUpperInvariant()));
        Assert.Null(ImageFormats.OfName("a" + extension));
    });

    [Theory]
    [InlineData("PNG", ".png")]
    [InlineData("JPEG", ".jpg")]
    [InlineData("WebP", ".webp")]
    [InlineData("BMP", ".bmp")]
    [InlineData("GIF", null)]
    public void Extension_Format_HasItsUsualOne(string format, string? extension) => Assert.Equal(extension, ImageFormats.Extension(format));
}
