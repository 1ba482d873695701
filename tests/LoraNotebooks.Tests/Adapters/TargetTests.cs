using LoraNotebooks.Adapters;
using LoraNotebooks.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Which modules are meant, and what is said of names that mean none.</summary>
public sealed class TargetTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly nn.Module _model = nn.Sequential(
        ("model", nn.Sequential(
            ("layers", nn.Sequential(
                ("0", nn.Sequential(
                    ("attn", nn.Sequential(("to_q", nn.Linear(2, 2)), ("to_v", nn.Linear(2, 2, hasBias: false)))),
                    ("norm", nn.GroupNorm(1, 2)))),
                ("1", nn.Sequential(("attn", nn.Sequential(("to_q", nn.Linear(2, 2)), ("to_v", nn.Linear(2, 2, hasBias: false)))))))),
            ("h", nn.Sequential(("1", nn.Sequential(("to_q", nn.Linear(2, 2)))))),
            ("conv", nn.Conv2d(2, 2, 1)),
            ("reflecting", nn.Conv2d(2, 2, 3, padding: 1, padding_mode: PaddingModes.Reflect)),
            ("embed", nn.Embedding(3, 2)))),
        ("head", nn.Linear(2, 2)));

    public void Dispose()
    {
        _model.Dispose();
        _scope.Dispose();
    }

    public static TheoryData<string> Selections => [.. SelectionsOf.Keys];

    private static Dictionary<string, (LoraConfig Config, string[] Expected)> SelectionsOf => new()
    {
        ["a name"] = (new() { TargetModules = ["to_v"] }, ["model.layers.0.attn.to_v", "model.layers.1.attn.to_v"]),
        ["a longer name"] = (new() { TargetModules = ["0.attn.to_v"] }, ["model.layers.0.attn.to_v"]),
        ["a whole path"] = (new() { TargetModules = ["head", "model.h.1.to_q"] }, ["model.h.1.to_q", "head"]),
        ["kinds"] = (new() { TargetModules = ["conv", "embed"] }, ["model.conv", "model.embed"]),
        ["an expression"] = (
            new() { TargetModules = ModuleSelection.Regex(@".*\.(0|h)\..*") },
            ["model.layers.0.attn.to_q", "model.layers.0.attn.to_v", "model.h.1.to_q"]),
        ["all linear"] = (
            new() { TargetModules = ModuleSelection.AllLinear },
            ["model.layers.0.attn.to_q", "model.layers.0.attn.to_v", "model.layers.1.attn.to_q", "model.layers.1.attn.to_v", "model.h.1.to_q", "head"]),
        ["exclusion by name"] = (
            new() { TargetModules = ["to_q", "to_v"], ExcludeModules = ["attn.to_q", "1.attn.to_v"] },
            ["model.layers.0.attn.to_v", "model.h.1.to_q"]),
        ["exclusion by expression"] = (new() { TargetModules = ["to_q"], ExcludeModules = ModuleSelection.Regex("model.layers.*") }, ["model.h.1.to_q"]),
        ["without what trains whole"] = (
            new() { TargetModules = ModuleSelection.AllLinear, ModulesToSave = ["to_q"] },
            ["model.layers.0.attn.to_v", "model.layers.1.attn.to_v", "head"]),
        ["blocks"] = (new() { TargetModules = ["to_q", "head"], LayersToTransform = [1] }, ["model.layers.1.attn.to_q", "model.h.1.to_q", "head"]),
        ["blocks of one kind"] = (new() { TargetModules = ["to_q"], LayersToTransform = [0, 1], LayersPattern = ["h"] }, ["model.h.1.to_q"]),
        ["blocks of two kinds"] = (
            new() { TargetModules = ["to_q"], LayersToTransform = [1], LayersPattern = ["layers", "h"] },
            ["model.layers.1.attn.to_q", "model.h.1.to_q"]),
        ["blocks and a whole path"] = (
            new() { TargetModules = ["attn.to_v", "model.h.1.to_q"], LayersToTransform = [0] },
            ["model.layers.0.attn.to_v", "model.h.1.to_q"]),
    };

    [Theory]
    [MemberData(nameof(Selections))]
    public void Targets_OfASelection_AreTheseInTheModelsOrder(string name)
    {
        var (config, expected) = SelectionsOf[name];

        Assert.Equal(InOrder(expected), Finder().Targets(config, strict: true).Select(static layer => layer.Path));
    }

    public static TheoryData<string> Mistakes => [.. MistakesOf.Keys];

    private static Dictionary<string, (LoraConfig Config, string[] Faults)> MistakesOf => new()
    {
        // How many letters off a name is decides: of the first one letter, then three, then three.
        ["a typing error"] = (
            new() { TargetModules = ["to_w"] },
            ["TargetModules: 'to_w' means no module of the model; close names are 'to_q', 'to_v', 'conv'"]),
        ["a longer name"] = (
            new() { TargetModules = ["1.attn.to_w"] },
            ["TargetModules: '1.attn.to_w' means no module of the model; close names are '1.attn.to_q', '1.attn.to_v', '0.attn.to_q'"]),
        ["a part of a name"] = (
            new() { TargetModules = ["o_q"] },
            ["TargetModules: 'o_q' means no module of the model; close names are 'to_q', 'to_v', 'conv'"]),
        ["a letter too few"] = (
            new() { TargetModules = ["hed"] },
            ["TargetModules: 'hed' means no module of the model; close names are 'head', 'embed', 'conv'"]),
        ["a letter too many"] = (
            new() { TargetModules = ["heads"] },
            ["TargetModules: 'heads' means no module of the model; close names are 'head', 'conv', 'embed'"]),
        ["an expression"] = (
            new() { TargetModules = ModuleSelection.Regex("to_q") },
            ["TargetModules: 'to_q' means no module of the model; close names are 'to_q', 'to_v', 'conv'"]),
        ["another kind"] = (new() { TargetModules = ["norm", "reflecting", "head"] },
            [
                "TargetModules: 'model.reflecting' is a Conv2d, expected a Linear, plain or transposed, a Conv2d that pads with zeros, or an Embedding",
                "TargetModules: 'model.layers.0.norm' is a GroupNorm, expected a Linear, plain or transposed, a Conv2d that pads with zeros, or an Embedding"
            ]),
        ["unused patterns"] = (
            new()
            {
                TargetModules = ["head"],
                RankPattern = new Dictionary<string, int> { ["to_q"] = 1, ["head"] = 2 },
                AlphaPattern = new Dictionary<string, double> { ["to_v"] = 1 },
            },
            ["RankPattern: 'to_q' means none of the target modules", "AlphaPattern: 'to_v' means none of the target modules"]),
        ["all excluded"] = (
            new() { TargetModules = ["head", "conv"], ExcludeModules = ["head", "conv"] },
            ["TargetModules: 'head, conv' means no layer that is left after exclusions; close names are 'head', 'conv', 'embed'"]),
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void Targets_OfAMistake_AreRefusedWithEveryFault(string name)
    {
        var (config, faults) = MistakesOf[name];

        Assert.Equal(
            $"The adapter does not fit the model:\n{string.Join('\n', faults.Select(static fault => "- " + fault))}",
            Assert.Throws<ArgumentException>(() => Finder().Targets(config, strict: true)).Message);
    }

    /// <summary>A file may name modules that only other models have.</summary>
    [Fact]
    public void Targets_OfAFile_MayMeanNothingButNotAllOfThem()
    {
        Assert.Equal(
            ["head"],
            Finder()
                .Targets(new LoraConfig { TargetModules = ["head", "nothing"], RankPattern = new Dictionary<string, int> { ["nothing"] = 2 } }, strict: false)
                .Select(static layer => layer.Path));
        Assert.Contains(
            "'nothing' means no layer that is left after exclusions",
            Assert.Throws<ArgumentException>(() => Finder().Targets(new LoraConfig { TargetModules = ["nothing"] }, strict: false)).Message);
    }

    [Fact]
    public void Targets_OfManyMistakes_NamesTen()
    {
        var message = Assert.Throws<ArgumentException>(() =>
            Finder().Targets(new LoraConfig { TargetModules = [.. Enumerable.Range(10, 12).Select(static i => $"x{i}")] }, strict: true)).Message;

        Assert.Equal(12, message.Split('\n').Length);
        Assert.EndsWith("\n- and 2 more", message);
    }

    [Fact]
    public void Targets_OfAModelWithoutLayers_SaysSo()
    {
        using var bare = nn.Sequential(("norm", nn.GroupNorm(1, 2)));

        Assert.Equal(
            "The adapter does not fit the model:\n- TargetModules: 'x' means no module of the model; the model has no layer that can be adapted",
            Assert.Throws<ArgumentException>(() => Finder(bare).Targets(new LoraConfig { TargetModules = ["x"] }, strict: true)).Message);
    }

    [Fact]
    public void AllLinear_WithoutTheModelsHead_TakesTransposedLayersToo()
    {
        using var other = nn.Sequential(("a", new TransposedLinear(2, 2)), ("head", nn.Linear(2, 2)), ("embed", nn.Embedding(2, 2)));

        Assert.Equal(
            ["a"],
            Finder(other, new Roles("head")).Targets(new LoraConfig { TargetModules = ModuleSelection.AllLinear }, strict: true)
                .Select(static layer => layer.Path));
        Assert.Equal(
            ["head"],
            Finder(other, new Roles("head")).Targets(new LoraConfig { TargetModules = ["head"] }, strict: true).Select(static layer => layer.Path));
        Assert.Equal(
            "The adapter does not fit the model:\n- TargetModules: 'a' keeps its weight transposed, for which PEFT has no Loha, expected Lora or other modules",
            Assert.Throws<ArgumentException>(() =>
                Finder(other).Targets(new LoraConfig { Method = AdapterMethod.Loha, TargetModules = ["a"] }, strict: true)).Message);
    }

    [Fact]
    public void Saved_OfNames_AreTheLayersOnceEach()
    {
        Assert.Equal(
            ["model.layers.0.attn.to_v", "model.layers.1.attn.to_v", "head"],
            Finder().Saved(new LoraConfig { ModulesToSave = ["to_v", "1.attn.to_v", "head", "head"] }).Select(static layer => layer.Path));
        Assert.Equal(
            "The adapter does not fit the model:\n- ModulesToSave: 'haed' means no module of the model; close names are 'head', 'embed', 'conv'\n"
                + "- ModulesToSave: 'model.layers.0.norm' is a GroupNorm, expected a Linear, plain or transposed, a Conv2d that pads "
                + "with zeros, or an Embedding",
            Assert.Throws<ArgumentException>(() => Finder().Saved(new LoraConfig { ModulesToSave = ["haed", "norm", "haed"] })).Message);
    }

    [Theory]
    [InlineData(BiasTraining.None)]
    [InlineData(BiasTraining.LoraOnly, "model.layers.0.attn.to_q", "model.layers.1.attn.to_q", "model.h.1.to_q")]
    [InlineData(
        BiasTraining.All, "model.layers.0.attn.to_q", "model.layers.0.norm", "model.layers.1.attn.to_q", "model.h.1.to_q", "model.conv", "model.reflecting")]
    public void Biased_OfASetting_AreTheLayersWithABias(BiasTraining bias, params string[] expected)
    {
        var config = new LoraConfig { TargetModules = ["to_q", "to_v"], Bias = bias, ModulesToSave = ["head"] };

        Assert.Equal(InOrder(expected), Finder().Biased(config, Finder().Targets(config, strict: true)).Select(static layer => layer.Path));
    }

    [Fact]
    public void Biased_OfAModuleThatCannotBeHooked_IsRefusedByName()
    {
        using var other = nn.Sequential(("pair", nn.Bilinear(2, 2, 2) is nn.Module bilinear ? new Holder(bilinear) : null!));

        Assert.Equal(
            "Bias: 'pair.inner' is a Bilinear with a bias that cannot be adapted, expected modules with one input and one output. "
                + "Use BiasTraining.LoraOnly or None.",
            Assert.Throws<ArgumentException>(() => Finder(other).Biased(new LoraConfig { Bias = BiasTraining.All }, [])).Message);
    }

    [Theory]
    [InlineData("to_q", "a.to_q", true)]
    [InlineData("to_q", "to_q", true)]
    [InlineData("to_q", "a.not_to_q", false)]
    [InlineData("a.to_q", "a.to_q.b", false)]
    [InlineData("A.to_q", "a.to_q", false)]
    public void Matches_OfAName_IsAtADot(string name, string path, bool expected)
    {
        Assert.Equal(expected, Of(name).Matches(path));
        Assert.Equal(expected, Of("other", name).Matches(path));
    }

    [Fact]
    public void Matches_OfAnExpression_IsOfTheWholePath()
    {
        Assert.True(ModuleSelection.Regex("a|b.c").Matches("b.c"));
        Assert.False(ModuleSelection.Regex("a|b.c").Matches("a.c"));
        Assert.False(ModuleSelection.Regex("a|b.c").Matches("x.b.c"));
        Assert.True(ModuleSelection.AllLinear.Matches("anything"));
        Assert.False(Of().Matches("anything"));
    }

    [Fact]
    public void Unmatched_OfASelection_AreTheEntriesThatMeanNothing()
    {
        string[] paths = ["a.b", "c"];

        Assert.Equal(["x", "a"], Of("b", "x", "a").Unmatched(paths));
        Assert.Equal(["x.*"], ModuleSelection.Regex("x.*").Unmatched(paths));
        Assert.Empty(ModuleSelection.Regex("a.*").Unmatched(paths));
        Assert.Empty(ModuleSelection.AllLinear.Unmatched(paths));
        Assert.Equal(["all-linear"], ModuleSelection.AllLinear.Unmatched([]));
    }

    [Fact]
    public void Selections_OfTheSameEntriesAndKind_AreEqual()
    {
        ModuleSelection[] different = [["a"], ["a", "b"], ["b", "a"], ModuleSelection.Regex("a"), ModuleSelection.AllLinear, ["all-linear"], []];

        for (var i = 0; i < different.Length; i++)
        {
            for (var j = 0; j < different.Length; j++)
            {
                Assert.Equal(i == j, different[i].Equals((object)different[j]));
            }
        }

        Assert.False(different[0].Equals(null));
        Assert.False(different[0].Equals("a"));
        Assert.Equal(Of("a", "b").GetHashCode(), Of("a", "b").GetHashCode());
        Assert.NotEqual(Of("a", "b").GetHashCode(), Of("b", "a").GetHashCode());
        Assert.Equal("a, b", different[1].ToString());
        Assert.Equal(["a", "b"], ((System.Collections.IEnumerable)different[1]).Cast<string>());
        Assert.Equal((true, false, false, true), (different[3].IsRegex, different[3].IsAllLinear, different[4].IsRegex, different[4].IsAllLinear));
    }

    [Fact]
    public void Matches_OfAnExpressionThatTakesTooLong_IsRefusedWithARemedy() => Assert.Equal(
        "The expression '^(?:(a+)+)$' takes too long on 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab', expected one without repetitions inside repetitions. "
            + "Write it simpler.",
        Assert.Throws<ArgumentException>(static () => ModuleSelection.Regex("(a+)+").Matches(new string('a', 38) + "b")).Message);

    /// <summary>Expressions are compiled once, and so many are remembered that no configuration compiles one twice, but not without end.</summary>
    [Fact]
    public void Compile_OfManyExpressions_RemembersTenThousand()
    {
        var first = ModuleSelection.Compile("remembered").Expression;
        Assert.Same(first, ModuleSelection.Compile("remembered").Expression);

        for (var i = 0; i < 10_000; i++)
        {
            ModuleSelection.Compile($"r{i}");
        }

        Assert.NotSame(first, ModuleSelection.Compile("remembered").Expression);
    }

    private IEnumerable<string> InOrder(string[] paths)
    {
        var order = _model.named_modules().Select(static module => module.name).ToList();
        return paths.OrderBy(order.IndexOf);
    }

    private static ModuleSelection Of(params string[] names) => ModuleSelection.Names(names);

    private TargetFinder Finder(nn.Module? of = null, ILayerRoles? roles = null) =>
        new(
            new OrderedDictionary<string, nn.Module>(
                (of ?? _model).named_modules().Select(static m => KeyValuePair.Create(m.name, m.module))),
            roles);

    private sealed record Roles(string? OutputHead) : ILayerRoles
    {
        public long? PaddingRow(string path) => null;
    }

    /// <summary>Gives a module of several inputs a place in a sequence.</summary>
    private sealed class Holder : nn.Module<Tensor, Tensor>
    {
        private readonly nn.Module inner;

        public Holder(nn.Module inner)
            : base(nameof(Holder))
        {
            this.inner = inner;
            register_module("inner", this.inner);
        }

        public override Tensor forward(Tensor x) => x;
    }
}
