using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Comparison;

/// <summary>Axes that a notebook declares for itself: they get what those of the table have.</summary>
public sealed class XyzOwnAxisTests : IDisposable
{
    private static readonly XyzSettings Plain = new() { Prompt = "a cat", Steps = 2 };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>The shape of the picture: two settings by one value.</summary>
    private static XyzAxis Shape(int cost = XyzCost.Sampling) => XyzAxis.Of(
        "shape", [(16, 24), (24, 16)], (settings, size) => settings with { Width = size.Item1, Height = size.Item2 }, cost, size => $"{size.Item1}×{size.Item2}");

    [Fact]
    public void Of_OwnAxis_IsLabelledPaintedSavedAndReadBack()
    {
        var grid = new XyzGrid(Plain, XyzAxis.Seed("1-2"), Shape());
        Assert.Equal("shape: 16×24, 24×16", grid.Y!.ToString());
        Assert.Equal("2 (seed) × 2 (shape) = 4 cells, 8 denoising steps", grid.Statement);
        Assert.Empty(grid.Validate());

        var result = grid.Run(new Painter());
        result.Save(_folder.Path);

        Assert.All(result.Cells, static cell => Assert.Equal(cell.Y == 0 ? (16, 24) : (24, 16), (cell.Image.Width, cell.Image.Height)));
        Assert.Equal(
            [
                ("y01-x01_shape-16-24_seed-1.png", "1", "16×24", 16, 24), ("y01-x02_shape-16-24_seed-2.png", "2", "16×24", 16, 24),
                ("y02-x01_shape-24-16_seed-1.png", "1", "24×16", 24, 16), ("y02-x02_shape-24-16_seed-2.png", "2", "24×16", 24, 16),
            ],
            XyzIndex.Load(_folder.Path).Select(static entry => (entry.File, entry.X, entry.Y!, entry.Settings.Width!.Value, entry.Settings.Height!.Value)));
    }

    /// <summary>Beside prompts: what is sampled only lies within them, what costs a file around them, whatever its place.</summary>
    [Theory]
    [InlineData(XyzCost.Sampling, false)]
    [InlineData(XyzCost.Text, false)]
    [InlineData(XyzCost.Text + 2, true)]
    [InlineData(XyzCost.Weights, true)]
    [InlineData(XyzCost.File, true)]
    public void Of_Cost_DecidesWhichLoopIsTheOuter(int cost, bool isOuter)
    {
        var prompts = XyzAxis.PromptSearchReplace("cat, dog");
        (int, int)[] outer = [(0, 0), (0, 1), (1, 0), (1, 1)];
        (int, int)[] inner = [(0, 0), (1, 0), (0, 1), (1, 1)];
        Assert.Equal(isOuter ? outer : inner, new XyzGrid(Plain, Shape(cost), prompts).Run(new Painter()).Cells.Select(static cell => (cell.X, cell.Y)));
        Assert.Equal(isOuter ? inner : outer, new XyzGrid(Plain, prompts, Shape(cost)).Run(new Painter()).Cells.Select(static cell => (cell.X, cell.Y)));
        Assert.Equal(cost, Shape(cost).Cost);
    }

    [Fact]
    public void Of_ValuesWithoutLabels_AreShownAsThoseOfTheTable()
    {
        Assert.Equal(["0", "0.3333", "1"], XyzAxis.Of("eta", [0, 1 / 3.0, 1], static (settings, eta) => settings with { Eta = eta }).Labels);
        Assert.Equal(["", "a, b"], XyzAxis.Of("words", [null, "a, b"], static (settings, words) => settings with { NegativePrompt = words ?? "" }).Labels);
        Assert.Equal(["0.5"], XyzAxis.Of("share", [0.5m], static (settings, _) => settings).Labels);
        Assert.Equal(XyzCost.Sampling, XyzAxis.Of("share", [0.5m], static (settings, _) => settings).Cost);
    }

    [Fact]
    public void Of_Values_AreThoseOfItsMaking()
    {
        var values = new List<int> { 3, 4 };
        var axis = XyzAxis.Of("count", values, static (settings, steps) => settings with { Steps = steps });
        values[1] = 9;
        Assert.Equal(4, new XyzGrid(Plain, axis).At(1).Steps);
    }

    [Fact]
    public void Of_Faults_AreNamed()
    {
        static XyzSettings Eta(XyzSettings settings, double eta) => settings with { Eta = eta };
        Assert.Equal(
            ["Axis eta, value 2: Eta: got 2, expected 0 to 1"],
            new XyzGrid(Plain, XyzAxis.Of("eta", [1.0, 2], Eta)).Validate());
        Assert.StartsWith("2 axes vary the eta", Assert.Single(new XyzGrid(Plain, XyzAxis.Of("eta", [1.0], Eta), XyzAxis.Of("eta", [0.0], Eta)).Validate()));
        Assert.StartsWith("2 axes vary the seed", Assert.Single(new XyzGrid(Plain, XyzAxis.Seed(1), XyzAxis.Of("seed", [1.0], Eta)).Validate()));
        Assert.Contains("'eta' has no values", Assert.Throws<ArgumentException>(static () => XyzAxis.Of<double>("eta", [], Eta)).Message);
        Assert.Throws<ArgumentException>(static () => XyzAxis.Of(" ", [1.0], Eta));
        Assert.Throws<ArgumentNullException>(static () => XyzAxis.Of<double>("eta", null!, Eta));
        Assert.Throws<ArgumentNullException>(static () => XyzAxis.Of<double>("eta", [1], null!));
    }

    private sealed class Painter : IXyzRenderer
    {
        public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken)
        {
            var (width, height) = (settings.Width ?? 2, settings.Height ?? 2);
            return new RgbImage(width, height, new byte[3 * width * height]);
        }
    }
}
