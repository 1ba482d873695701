using System.Reflection;
using LoraNotebooks.Comparison;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Comparison;

/// <summary>Every axis of the table: what it is called, what it shows, and the one setting that it changes.</summary>
public sealed class XyzAxisTests
{
    private static readonly XyzSettings Basis = new() { Prompt = "a cat", NegativePrompt = "no cat", Spacing = SigmaSpacing.Exponential };

    /// <summary>Of each factory an axis by its text, its name, its labels, and the settings at its second position.</summary>
    private readonly Dictionary<string, (XyzAxis Axis, string Name, string Labels, XyzSettings Second)> _all = new()
    {
        [nameof(XyzAxis.Checkpoint)] = (XyzAxis.Checkpoint("runs/a.safetensors, \"runs/b, c\""), "checkpoint", "a|b, c", Basis with { Checkpoint = "runs/b, c" }),
        [nameof(XyzAxis.LoraWeight)] = (XyzAxis.LoraWeight("0-1 (+0.25)"), "LoRA weight", "0|0.25|0.5|0.75|1", Basis with { LoraWeight = 0.25 }),
        [nameof(XyzAxis.PromptSearchReplace)] = (XyzAxis.PromptSearchReplace("cat, \"dog, brown\""), "prompt", "cat|dog, brown", Basis with { Prompt = "a dog, brown", NegativePrompt = "no dog, brown" }),
        [nameof(XyzAxis.ClipSkip)] = (XyzAxis.ClipSkip("1-2"), "clip skip", "1|2", Basis with { ClipSkip = 2 }),
        [nameof(XyzAxis.Sampler)] = (XyzAxis.Sampler("ddim, Euler a Karras"), "sampler", "DDIM|Euler a Karras", Basis with { Sampler = SamplerKind.EulerAncestral, Spacing = SigmaSpacing.Karras }),
        [nameof(XyzAxis.ScheduleType)] = (XyzAxis.ScheduleType("normal, karras"), "schedule type", "Normal|Karras", Basis with { Spacing = SigmaSpacing.Karras }),
        [nameof(XyzAxis.Steps)] = (XyzAxis.Steps("5-20 (+5)"), "steps", "5|10|15|20", Basis with { Steps = 10 }),
        [nameof(XyzAxis.Guidance)] = (XyzAxis.Guidance("1-7 [4]"), "guidance", "1|3|5|7", Basis with { Guidance = 3 }),
        [nameof(XyzAxis.Seed)] = (XyzAxis.Seed("1-4"), "seed", "1|2|3|4", Basis with { Seed = 2 }),
    };

    /// <summary>The factories that read text: each axis has one.</summary>
    public static TheoryData<string> Factories =>
    [
        .. typeof(XyzAxis).GetMethods(BindingFlags.Public | BindingFlags.Static)
            .Where(static method => method.ReturnType == typeof(XyzAxis) && method.GetParameters() is [var only] && only.ParameterType == typeof(string))
            .Select(static method => method.Name),
    ];

    [Theory]
    [MemberData(nameof(Factories))]
    public void Axis_OfEveryFactory_NamesItsValuesAndChangesItsSettingAlone(string factory)
    {
        Assert.True(_all.ContainsKey(factory), $"{factory} is an axis; say here with what values it is tried");
        var (axis, name, labels, second) = _all[factory];
        var (texts, grid) = (labels.Split('|'), new XyzGrid(Basis, axis));

        Assert.Equal((name, texts.Length), (axis.Name, axis.Count));
        Assert.Equal(texts, axis.Labels);
        Assert.Equal(second, grid.At(1));
        Assert.Equal(second, new XyzGrid(Basis, XyzAxis.Seed(0), y: axis).At(0, 1));
        Assert.Equal(second, new XyzGrid(Basis, XyzAxis.Seed(0), z: axis).At(0, 0, 1));
        Assert.Equal($"{name}: {string.Join(", ", texts)}", axis.ToString());
        Assert.Equal(factory == nameof(XyzAxis.PromptSearchReplace) ? texts : [], axis.Replacements);
        Assert.Empty(grid.Validate());
        Assert.Equal(Factories.Count, _all.Values.Select(static entry => entry.Axis.Name).Distinct().Count());
    }

    [Fact]
    public void Axis_OfValues_IsThatOfTheirText()
    {
        Same(XyzAxis.Checkpoint("a", "b"), XyzAxis.Checkpoint("a, b"));
        Same(XyzAxis.ClipSkip(1, 2), XyzAxis.ClipSkip("1, 2"));
        Same(XyzAxis.Steps(3, 9), XyzAxis.Steps("3, 9"));
        Same(XyzAxis.Sampler(SamplerKind.Heun, SamplerKind.Pndm), XyzAxis.Sampler("Heun, PLMS"));
        Same(XyzAxis.ScheduleType(SigmaSpacing.Exponential), XyzAxis.ScheduleType("Exponential"));
        Same(XyzAxis.Seed(5, 6), XyzAxis.Seed("5, 6"));

        static void Same(XyzAxis expected, XyzAxis actual)
        {
            Assert.Equal(expected.Labels, actual.Labels);
            Assert.All(Enumerable.Range(0, expected.Count), i => Assert.Equal(new XyzGrid(Basis, expected).At(i), new XyzGrid(Basis, actual).At(i)));
        }
    }

    [Fact]
    public void Axis_WholeNumbers_AreTakenUpToTheirBounds()
    {
        Assert.Equal(["2147483647", "-2147483648"], XyzAxis.Steps("2147483647, -2147483648").Labels);
        Assert.Throws<FormatException>(static () => XyzAxis.Steps("2147483648"));
        Assert.Throws<FormatException>(static () => XyzAxis.ClipSkip("-2147483649"));
    }

    [Theory]
    [InlineData("runs/a/last.safetensors|runs/b/last/", "a/last|b/last")]
    [InlineData("runs\\a\\x.SAFETENSORS|runs\\b\\y.safetensors", "x|y")]
    [InlineData("a.safetensors|a.safetensors", "a|a")]
    [InlineData("last.safetensors|runs/last.safetensors", "last|runs/last")]
    [InlineData("runs/x.safetensors|runs/x.safetensors|y", "x|x|y")]
    [InlineData("epoch.v1.pt|epoch.v2.pt", "epoch.v1.pt|epoch.v2.pt")]
    public void Checkpoint_Labels_AreTheShortestThatTellApart(string paths, string labels) =>
        Assert.Equal(labels.Split('|'), XyzAxis.Checkpoint(paths.Split('|')).Labels);

    [Theory]
    [InlineData(0.00001, "0.00001")]
    [InlineData(-0.00001, "-0.00001")]
    [InlineData(0.1234567, "0.1234567")]
    [InlineData(0.12345678, "0.1235")]
    [InlineData(-2.0, "-2")]
    [InlineData(1e6, "1000000")]
    public void Labels_OfOneNumber_AreShortAndNeverNothing(double value, string label) => Assert.Equal([label], XyzAxis.Guidance(value).Labels);

    /// <summary>The renderer's own LoRA beside files.</summary>
    [Fact]
    public void Checkpoint_None_IsAValueWithoutALabel()
    {
        var axis = XyzAxis.Checkpoint(null!, "runs/a.safetensors");
        Assert.Equal(["", "a"], axis.Labels);
        Assert.Null(new XyzGrid(Basis with { Checkpoint = "b" }, axis).At(0).Checkpoint);
    }

    [Fact]
    public void SearchReplace_WithoutASearch_IsAnError()
    {
        Assert.Contains("is empty", Assert.Throws<ArgumentException>(static () => XyzAxis.PromptSearchReplace("", "dog")).Message);
        Assert.Contains("no values", Assert.Throws<ArgumentException>(static () => XyzAxis.PromptSearchReplace([])).Message);
        Assert.Equal("a ", new XyzGrid(Basis, XyzAxis.PromptSearchReplace("cat", "")).At(1).Prompt);
    }

    /// <summary>Two searches of which one holds the other: the longer is found first, on whatever axis it is.</summary>
    [Fact]
    public void SearchReplace_OneSearchInsideTheOther_TheLongerIsFoundFirst()
    {
        var settings = Basis with { Prompt = "cat eyes, cat" };
        var (shorter, longer) = (XyzAxis.PromptSearchReplace("cat", "dog"), XyzAxis.PromptSearchReplace("cat eyes", "owl eyes"));
        Assert.Equal("owl eyes, dog", new XyzGrid(settings, shorter, longer).At(1, 1).Prompt);
        Assert.Equal("owl eyes, dog", new XyzGrid(settings, longer, XyzAxis.Seed(1), shorter).At(1, 0, 1).Prompt);
        Assert.Equal("a+b", new XyzGrid(Basis with { Prompt = "a.b" }, XyzAxis.PromptSearchReplace(".", "+")).At(1).Prompt);
    }
}
