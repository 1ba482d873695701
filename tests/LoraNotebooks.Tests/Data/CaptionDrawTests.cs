using LoraNotebooks.Data;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Data;

/// <summary>The caption of a training step, by the formula: of one number for the caption, one for each tag's place and one for each tag's dropout.</summary>
public sealed class CaptionDrawTests
{
    private const string Caption = "mika,a ,  b, , c, d, e";

    private static readonly string[] Tags = ["mika", "a", "b", "c", "d", "e"];

    [Theory]
    [InlineData(true, 0, 0.0, 0.0)]
    [InlineData(true, 1, 0.0, 0.0)]
    [InlineData(true, 6, 0.0, 0.0)]
    [InlineData(true, 9, 0.3, 0.5)]
    [InlineData(false, 0, 0.0, 0.5)]
    [InlineData(false, 2, 0.0, 0.5)]
    [InlineData(false, 0, 0.4, 0.0)]
    [InlineData(true, 2, 0.3, 0.4)]
    [InlineData(false, 6, 0.0, 1.0)]
    [InlineData(false, 5, 0.0, 1.0)]
    public void Draw_Options_GiveTheCaptionOfTheFormula(bool shuffle, int keep, double captionDropout, double tagDropout)
    {
        var options = new CaptionOptions { Shuffle = shuffle, KeepTokens = keep, CaptionDropout = captionDropout, TagDropout = tagDropout };
        for (var seed = 1; seed <= 12; seed++)
        {
            using var generator = new Generator((ulong)seed);

            Assert.Equal(Expected(options, Numbers(seed)), options.Draw(Caption, generator));

            // As many numbers were drawn as in every other setting, so that the next ones are the same.
            using var scope = NewDisposeScope();
            Assert.Equal(Numbers(seed, more: 1)[^1], rand([1], ScalarType.Float64, CPU, generator: generator).item<double>());
        }
    }

    [Fact]
    public void Draw_NumberAtTheRate_IsNotDropped()
    {
        var numbers = Numbers(seed: 4);
        using var first = new Generator(4);
        using var second = new Generator(4);
        using var third = new Generator(4);

        Assert.Equal(Caption, new CaptionOptions { CaptionDropout = numbers[0] }.Draw(Caption, first));
        Assert.Equal("", new CaptionOptions { CaptionDropout = Math.BitIncrement(numbers[0]) }.Draw(Caption, second));

        // The tag of the largest number alone is kept at that rate.
        var dropout = numbers[7..13];
        Assert.Equal(Tags[Array.IndexOf(dropout, dropout.Max())], new CaptionOptions { TagDropout = dropout.Max() }.Draw(Caption, third));
    }

    [Fact]
    public void Draw_OptionsThatChangeNothing_DrawsNoNumbers()
    {
        using var generator = new Generator(6);
        new CaptionOptions { KeepTokens = 2 }.Draw(Caption, generator);

        using var scope = NewDisposeScope();
        Assert.Equal(Numbers(6)[0], rand([1], ScalarType.Float64, CPU, generator: generator).item<double>());
    }

    [Fact]
    public void ChangeNothing_EachOption_EndsIt()
    {
        Assert.True(new CaptionOptions { KeepTokens = 3 }.ChangeNothing);
        Assert.False(new CaptionOptions { Shuffle = true }.ChangeNothing);
        Assert.False(new CaptionOptions { CaptionDropout = 0.1 }.ChangeNothing);
        Assert.False(new CaptionOptions { TagDropout = 0.1 }.ChangeNothing);
    }

    private static double[] Numbers(int seed, int more = 0)
    {
        using var generator = new Generator((ulong)seed);
        using var scope = NewDisposeScope();
        double[] first = [.. rand([1 + 2 * Tags.Length], ScalarType.Float64, CPU, generator: generator).data<double>().ToArray()];
        return more == 0 ? first : [.. first, rand([more], ScalarType.Float64, CPU, generator: generator).item<double>()];
    }

    private static string Expected(CaptionOptions options, double[] numbers)
    {
        if (numbers[0] < options.CaptionDropout)
        {
            return "";
        }

        if (!options.Shuffle && options.TagDropout == 0)
        {
            return Caption;
        }

        var kept = new List<string>();
        var loose = new List<(double Place, string Tag)>();
        for (var i = 0; i < Tags.Length; i++)
        {
            if (i < options.KeepTokens)
            {
                kept.Add(Tags[i]);
            }
            else if (numbers[1 + Tags.Length + i] >= options.TagDropout)
            {
                loose.Add((options.Shuffle ? numbers[1 + i] : i, Tags[i]));
            }
        }

        loose.Sort(static (one, other) => one.Place.CompareTo(other.Place));
        return string.Join(", ", [.. kept, .. loose.Select(static entry => entry.Tag)]);
    }
}
