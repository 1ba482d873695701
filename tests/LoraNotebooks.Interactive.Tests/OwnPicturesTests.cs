using System.Text.Json.Nodes;
using Plotly.NET;
using SkiaSharp;
using TorchSharp;

namespace LoraNotebooks.Interactive.Tests;

/// <summary>Charts and pictures that are not the toolkit's own.</summary>
public sealed class OwnPicturesTests
{
    [Fact]
    public void Format_PlotlyNetChart_HasFigureHtmlAndPicture()
    {
        var trace = new Trace("scatter");
        trace.SetProperty("x", new[] { 1, 2, 3 });
        trace.SetProperty("y", new[] { 3, 1, 2 });
        trace.SetProperty("name", "mine");
        var bundle = DisplayFormatter.Format(GenericChart.ofTraceObject(false, trace));
        Assert.Equal([MimeTypes.Plotly, MimeTypes.Png, MimeTypes.Html, MimeTypes.PlainText], bundle.Types);
        Assert.Equal("chart: scatter 'mine' of 3", bundle.Text(MimeTypes.PlainText));
        Assert.Contains("<img src=\"data:image/png;base64,", bundle.Text(MimeTypes.Html));
        Assert.Equal("mine", (string?)bundle.Node(MimeTypes.Plotly)!["data"]![0]!["name"]);
    }

    [Theory]
    [InlineData("""{ "data": [{ "type": "bar", "x": ["a", "b"], "y": [1, 2] }], "layout": { "title": "Bars <b>" } }""", "chart 'Bars <b>': bar of 2", false)]
    [InlineData("""{ "data": [{ "type": "heatmap", "z": [[1]] }], "layout": { "title": { "text": "Heat" } } }""", "chart 'Heat': heatmap of 1", false)]
    [InlineData("""{ "data": [{ "y": [1, null, 3] }], "layout": {} }""", "chart: scatter of 3", true)]
    [InlineData("""{ "data": [{ "x": [2, 1], "y": [1, 3] }], "layout": {} }""", "chart: scatter of 2", false)]
    [InlineData("""{ "data": [{ "y": [1, 3], "mode": "markers" }], "layout": { "title": 7 } }""", "chart: scatter of 2", false)]
    public void Format_FigureJson_IsAChart(string json, string text, bool hasPicture)
    {
        var bundle = DisplayFormatter.Format(JsonNode.Parse(json));
        Assert.Equal(text, bundle.Text(MimeTypes.PlainText));
        Assert.Equal(hasPicture, bundle.Types.Contains(MimeTypes.Png));
        Assert.Contains(MimeTypes.Plotly, bundle.Types);
        Assert.DoesNotContain("<b>:", bundle.Text(MimeTypes.Html));
        Assert.Equal(bundle.Text(MimeTypes.Html), new PlotlyFigure(json).ToHtml());
    }

    [Fact]
    public void Format_JsonThatIsNoFigure_StaysJson() =>
        Assert.DoesNotContain(MimeTypes.Plotly, DisplayFormatter.Format(JsonNode.Parse("""{ "data": [1, 2], "layout": {} }""")).Types);

    [Theory]
    [InlineData("nonsense", "no JSON")]
    [InlineData("[]", "a list of traces")]
    [InlineData("""{ "data": 1 }""", "a list of traces")]
    [InlineData("null", "Got null")]
    public void PlotlyFigure_NoFigure_SaysWhatIsMissing(string json, string expected) =>
        Assert.Contains(expected, Assert.Throws<ArgumentException>(() => new PlotlyFigure(json)).Message);

    [Fact]
    public void Format_SkiaBitmapImageAndSurface_AreTheSamePictureWithItsTransparency()
    {
        using var bitmap = new SKBitmap(4, 2);
        bitmap.Erase(SKColors.Transparent);
        bitmap.SetPixel(1, 0, SKColors.Red);
        using var image = SKImage.FromBitmap(bitmap);
        using var surface = SKSurface.Create(new SKImageInfo(4, 2));
        surface.Canvas.DrawImage(image, 0, 0, SKSamplingOptions.Default);
        foreach (var value in (object[])[bitmap, image, surface])
        {
            var bundle = DisplayFormatter.Format(value);
            Assert.Equal([MimeTypes.Png, MimeTypes.Html, MimeTypes.PlainText], bundle.Types);
            Assert.Equal("picture 4 × 2", bundle.Text(MimeTypes.PlainText));
            using var decoded = SKBitmap.Decode(Convert.FromBase64String(bundle.Text(MimeTypes.Png)!));
            Assert.Equal(SKColors.Red, decoded.GetPixel(1, 0));
            Assert.Equal(0, decoded.GetPixel(0, 0).Alpha);
            Assert.Contains("width=\"4\"", bundle.Text(MimeTypes.Html));
        }
    }

    [Fact]
    public void Format_SkiaPictureLargerThanAPage_IsShrunkForStorage()
    {
        using var bitmap = new SKBitmap(3040, 20);
        var bundle = DisplayFormatter.Format(bitmap);
        Assert.Contains("width=\"760\" height=\"5\"", bundle.Text(MimeTypes.Html));
        using var decoded = SKBitmap.Decode(Convert.FromBase64String(bundle.Text(MimeTypes.Png)!));
        Assert.Equal((1520, 10), (decoded.Width, decoded.Height));
    }

    [Fact]
    public void Format_SkiaBitmapWithoutPixels_SaysSo()
    {
        var bitmap = new SKBitmap(2, 2);
        bitmap.Dispose();
        Assert.Equal("a disposed SKBitmap", DisplayFormatter.Format(bitmap).Text(MimeTypes.PlainText));
        using var empty = new SKBitmap();
        Assert.Contains("without pixels", DisplayFormatter.Format(empty).Text(MimeTypes.PlainText));
    }

    [Fact]
    public void AsPictures_EveryLayout_IsTheSamePicture()
    {
        using var image = torch.tensor(new float[] { 0, 0.5f, 1, 1, 0, 0 }, [3, 2, 1]);
        byte[] expected = [0, 255, 0, 128, 255, 0];
        Assert.Equal(expected, Pixels(image));
        Assert.Equal(expected, Pixels(image.permute(1, 2, 0)));
        Assert.Equal(expected, Pixels(image.unsqueeze(0)));
        Assert.Equal(expected, Pixels(image.permute(1, 2, 0).unsqueeze(0)));
        Assert.Equal(expected, Pixels(image.mul(2).sub(1)));
        Assert.Equal(expected, Pixels(image.mul(255).round().to(torch.uint8)));
        Assert.Equal([0, 0, 0, 255, 255, 255], Pixels(torch.tensor(new[] { false, true }, [1, 2])));
    }

    [Fact]
    public void AsPictures_Opacity_LiesOnWhite() =>
        Assert.Equal([255, 255, 255, 255, 0, 0], Pixels(torch.tensor(new float[] { 0, 0, 0, 0, 1, 0, 0, 1 }, [2, 1, 4])));

    [Fact]
    public void AsPictures_ValuesOutsideOrNotFinite_AreCounted()
    {
        var gallery = torch.tensor(new[] { 0f, 2f, float.NaN, 0.5f }, [2, 2]).AsPictures((0, 1));
        Assert.Contains("1 value clamped · 1 value not finite, shown black", gallery.Title);
        Assert.Equal([0, 255, 0, 128], gallery.Items[0].Image.Pixels.ToArray().Where((_, i) => i % 3 == 0));
    }

    [Fact]
    public void AsPictures_NoPictureOrNoRange_SaysWhatToDo()
    {
        Assert.Contains("[2, 5, 7]", Assert.Throws<ArgumentException>(() => torch.zeros(2, 5, 7).AsPictures()).Message);
        Assert.Contains("AsPictures((0, 3))", Assert.Throws<ArgumentException>(() => torch.tensor(new[] { 0f, 3f }, [1, 2]).AsPictures()).Message);
        Assert.Throws<ArgumentException>(() => torch.zeros(2, 2).AsPictures((1, 1)));
    }

    private static byte[] Pixels(torch.Tensor tensor) => tensor.AsPictures().Items.Single().Image.Pixels.ToArray();
}
