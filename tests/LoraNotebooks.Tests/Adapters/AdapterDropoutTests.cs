using LoraNotebooks.Adapters;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters;

/// <summary>Dropout seen number by number: beside a base of zeros an adapter whose update is one gives the input as it was dropped.</summary>
public sealed class AdapterDropoutTests : IDisposable
{
    private const int Size = 32;
    private const double Chance = 0.25;

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(3);
    private readonly nn.Module<Tensor, Tensor> _model;
    private readonly AdaptedModel _adapted;

    public AdapterDropoutTests()
    {
        _model = nn.Sequential(
            ("first", nn.Linear(Size, Size)),
            ("second", nn.Linear(Size, Size)),
            ("conv", nn.Conv2d(Size, Size, 1)),
            ("token", nn.Embedding(Size, Size)));
        using var noGrad = no_grad();
        foreach (var parameter in _model.parameters())
        {
            parameter.zero_();
        }

        _adapted = new AdaptedModel(_model);
    }

    public void Dispose()
    {
        _adapted.Dispose();
        _model.Dispose();
        _generator.Dispose();
        _scope.Dispose();
    }

    [Theory]
    [InlineData("first", false)]
    [InlineData("first", true)]
    [InlineData("conv", false)]
    [InlineData("conv", true)]
    public void Training_ZeroesEachNumberByChanceAndScalesTheOthers(string layer, bool dora)
    {
        AddIdentity(layer, new LoraConfig { Dropout = Chance, UseDora = dora });
        _adapted.SetWeight("a", 0.5);

        var (first, second) = (Run(layer), Run(layer));

        // Each number is 0 or 1/(1 − p), by the weight; of 512 the share that is kept is 1 − p, give or take five deviations of 0.019.
        var values = first.data<float>().ToArray();
        Assert.All(values, static value => Assert.True(value == 0 || Math.Abs(value - (0.5 / (1 - Chance))) < 1e-6, $"{value}"));
        Assert.InRange(values.Count(static value => value != 0) / 512.0, 1 - Chance - 0.1, 1 - Chance + 0.1);
        Assert.InRange(first.flatten(1).count_nonzero([1]).max().item<long>(), 1, first.numel() / first.size(0));
        Assert.NotEqual(values, second.data<float>().ToArray());
    }

    [Fact]
    public void Eval_AndALoadedAdapter_DropNothingUntilTrain()
    {
        AddIdentity("first", new LoraConfig { Dropout = Chance });
        Assert.True(Dropped());
        _adapted.Eval();
        Assert.False(Dropped());
        using var state = _adapted.ToState("a");
        _adapted.Remove("a");
        _adapted.Add("a", state);
        Assert.False(Dropped());
        _adapted.Train();
        Assert.True(Dropped());

        bool Dropped() => Run("first").min().item<float>() < 1;
    }

    /// <summary>The layers have the seed and the next ones, in the model's order; the same seed brings the same masks back, another others.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void SeedDropout_StartsTheMasksAnewLayerByLayer(bool dora)
    {
        AddIdentity("first", new LoraConfig { Dropout = 0.5, UseDora = dora, TargetModules = ["first", "second"] }, "second");
        _adapted.SeedDropout("a", 5);
        var (first, second) = (Run("first"), Run("second"));
        var next = Run("first");

        _adapted.SeedDropout("a", 5);
        Assert.Equal(0, Fixtures.MaxDifference(first, Run("first")));
        Assert.Equal(0, Fixtures.MaxDifference(next, Run("first")));
        _adapted.SeedDropout("a", 6);
        Assert.Equal(0, Fixtures.MaxDifference(second, Run("first")));
        Assert.True(Fixtures.MaxDifference(first, second) > 0);
        Assert.True(Fixtures.MaxDifference(first, next) > 0);
    }

    /// <summary>Each layer draws its own masks from the start, decided by the generator that drew the adapter.</summary>
    [Fact]
    public void NewAdapter_DrawsOtherMasksInEachLayer()
    {
        AddIdentity("first", new LoraConfig { Dropout = 0.5, TargetModules = ["first", "second"] }, "second");

        Assert.True(Fixtures.MaxDifference(Run("first"), Run("second")) > 0);
    }

    /// <summary>Networks that train together have seeds of their own, the first 31 times the seed, the second 37 times, however large that is.</summary>
    [Theory]
    [InlineData(5)]
    [InlineData(long.MaxValue)]
    public void SeedDropout_OfSeveralNetworks_GivesEachItsOwnMasks(long seed)
    {
        AddIdentity("first", new LoraConfig { Dropout = 0.5 });

        AdaptedModel.SeedDropout([(_adapted, "a")], seed);
        var (first, expected) = (Run("first"), Seeded(unchecked(31 * seed)));
        Assert.Equal(0, Fixtures.MaxDifference(expected, first));
        AdaptedModel.SeedDropout([(_adapted, "a"), (_adapted, "a")], seed);
        var (second, expectedToo) = (Run("first"), Seeded(unchecked(37 * seed)));
        Assert.Equal(0, Fixtures.MaxDifference(expectedToo, second));

        Tensor Seeded(long own)
        {
            _adapted.SeedDropout("a", own);
            return Run("first");
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Training_OfAnEmbedding_DropsNothing(bool dora)
    {
        _adapted.Add("a", new LoraConfig { Rank = 1, Alpha = 1, Dropout = 0.9, UseDora = dora, TargetModules = ["token"] }, _generator);
        using var noGrad = no_grad();
        foreach (var (name, parameter) in _adapted.NamedParameters("a"))
        {
            parameter.fill_(name.EndsWith("magnitude_vector", StringComparison.Ordinal) ? Math.Sqrt(Size) : 1);
        }

        // Columns of Size ones are √Size long, so that m changes nothing either.
        Assert.All(Module("token").call(arange(Size)).data<float>().ToArray(), static value => Assert.Equal(1, value, 5));
    }

    /// <summary>
    /// An update of one: rank = size and α = rank, A and B the unit matrix; of a decomposed weight the base is one instead and
    /// its lengths are doubled.
    /// </summary>
    private void AddIdentity(string layer, LoraConfig config, params string[] more)
    {
        string[] layers = [layer, .. more];
        using var noGrad = no_grad();
        foreach (var path in layers.Where(_ => config.UseDora))
        {
            _model.get_parameter($"{path}.weight")!.copy_(eye(Size).reshape(_model.get_parameter($"{path}.weight")!.shape));
        }

        _adapted.Add("a", config with { Rank = Size, Alpha = Size, TargetModules = ModuleSelection.Names(layers) }, _generator);
        foreach (var (name, parameter) in _adapted.NamedParameters("a"))
        {
            if (name.EndsWith("magnitude_vector", StringComparison.Ordinal))
            {
                parameter.fill_(2);
            }
            else if (!config.UseDora)
            {
                parameter.copy_(eye(Size).reshape(parameter.shape));
            }
        }
    }

    /// <summary>What the adapter adds to an input of ones.</summary>
    private Tensor Run(string layer)
    {
        using var noGrad = no_grad();
        var x = layer == "conv" ? ones(1, Size, 4, 4) : ones(16, Size);
        var module = Module(layer);
        _adapted.Enabled = false;
        var plain = module.call(x);
        _adapted.Enabled = true;
        return module.call(x) - plain;
    }

    private nn.Module<Tensor, Tensor> Module(string path) => (nn.Module<Tensor, Tensor>)_model.named_modules().Single(module => module.name == path).module;
}
