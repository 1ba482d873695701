using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters.Methods;

/// <summary>The register of methods: what each must say, and that one line is enough for a method of a user's own.</summary>
public sealed class AdapterMethodTests : IDisposable
{
    private readonly ScaledRows _rows = AdapterMethod.Register(new ScaledRows());
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        AdapterMethod.Unregister(_rows);
        _folder.Dispose();
    }

    /// <summary>What a method writes is read back, in both dialects, and its factors are each other's counterparts.</summary>
    [Fact]
    public void Names_OfEveryMethod_AreReadBack() => Assert.All(LoraNames.Factors, static factor =>
    {
        Assert.Equal(("a.b", factor.Name), LoraKey.Split($"a.b.{factor.Name}"));
        Assert.Equal(factor, LoraNames.OwnerOf($"a.b.{factor.Name}")?.Factor);
        if (factor.Kohya is { } kohya && factor.Name != LoraState.MagnitudePart[1..])
        {
            Assert.Equal(("lora_unet_a", factor.Name), LoraKey.Split($"lora_unet_a.{kohya}"));
        }

        if (factor.Counterpart is { } other)
        {
            Assert.Equal($"a.{other}", LoraKey.Parse($"a.{factor.Name}", []).Counterpart());
            Assert.Equal(factor.Name, LoraNames.Factors.Single(its => its.Name == other).Counterpart);
        }
    });

    /// <summary>A layer has no weights but those whose names its method told, and is known again by them; what a method honours has an effect.</summary>
    [Fact]
    public void Layers_OfEveryMethod_HaveTheNamesThatItTells() => Assert.All(AdapterMethod.All, static method =>
    {
        using var model = new TinyNetwork();
        using var generator = new Generator(1);
        using var adapted = new AdaptedModel(model);
        foreach (var (name, core) in new[] { ("plain", false), ("core", true) }
            .Where(pair => !pair.Item2 || method.Honours.HasFlag(HonouredSettings.EffectiveConv2d)))
        {
            adapted.Add(
                name,
                new LoraConfig { Method = method, Rank = 1, UseEffectiveConv2d = core, TargetModules = core ? ["to_q", "conv"] : ["to_q"] },
                generator);
            using var state = adapted.ToState(name);
            Assert.All(state.Tensors.Keys, key => Assert.Equal(method.Dialect, LoraNames.OwnerOf(key)?.Dialect));
            Assert.All(state.Ranks.Keys, module => Assert.Equal(method, AdapterMethod.Of(state, module)));
            Assert.Equal(adapted.GetLayers(name).Count, state.Ranks.Count);
            Assert.Equal(method, LoraConfig.FromPeftJson(state.Config!).Method);
        }

        // The common forward is the one that makes ΔW whole.
        var plain = (LowRankLayer)adapted.GetLayers("plain")[0];
        Assert.Equal(method.FormsUpdate, plain.GetType().GetMethod(nameof(LowRankLayer.Add))!.DeclaringType == typeof(LowRankLayer));
        using (no_grad())
        {
            Assert.Equal(method.Honours.HasFlag(HonouredSettings.NormBound), plain.ScaleUpdate(1));
        }

        Assert.Equal(method.Honours.HasFlag(HonouredSettings.LoraPlus), method.Dialect.Factors.Any(factor => method.IsB($"a.{factor.Name}")));
        Assert.Equal(method, AdapterMethod.Named(method.ToString().ToUpperInvariant()));
    });

    [Fact]
    public void Method_OfAUser_TrainsIsSavedLoadedMergedInspectedAndPlanned()
    {
        using var scope = NewDisposeScope();
        using var pipeline = TinyPipeline.Create();
        pipeline.Save(_folder.In("base"));
        var config = new LoraConfig { Method = _rows, Rank = 2, Alpha = 3, TargetModules = ["to_q"] };
        using var lora = StableDiffusionLora.Create(pipeline, "mine", config, null, seed: 1);
        var layer = (LowRankLayer)lora.UNet!.GetLayers("mine")[0];

        // One step of gradient descent on ‖ΔW − 1‖².
        layer.WeightDelta().sub(1).square().sum().backward();
        using (no_grad())
        {
            var R = layer.Parameters["rows_R"];
            R.sub_(R.grad! * 0.1);
        }

        var expected = layer.WeightDelta().detach();
        Assert.True(expected.abs().sum().item<float>() > 0);
        lora.SaveKohya(_folder.In("mine.safetensors"));
        lora.SavePeft(_folder.In("peft"));
        var trained = lora.Reports.Single().Parameters;
        Assert.Equal(trained, MemoryPlan.For(PipelineOutline.Read(_folder.In("base")), new DiffusionTrainingConfig { UNetLora = config }).Trained);
        Assert.Contains(SafetensorsFile.LoadAll(_folder.In("mine.safetensors")).Keys, static key => key.EndsWith("_to_q.rows_up", StringComparison.Ordinal));
        lora.Dispose();

        Assert.All([_folder.In("mine.safetensors"), _folder.In("peft")], path =>
        {
            var inspection = LoraInspection.Of(path);
            Assert.False(inspection.IsStrange);
            Assert.All(inspection.Layers, facts => Assert.Equal(("Rows", 2, 3.0), (facts.Method.ToString(), facts.Rank, facts.Alpha)));
            Assert.Equal(trained, inspection.Parameters);
            using var loaded = StableDiffusionLora.Load(pipeline, path, strict: true);
            var its = loaded.UNet!.GetLayers(loaded.Name)[0];
            Assert.Equal(0, Fixtures.MaxDifference(expected, its.WeightDelta()!));
            Assert.Equal(expected.norm().item<float>(), inspection.Layers.Single(facts => facts.Module == its.Path).Norm, 1e-5);
            var W = loaded.UNet.BaseModel.get_parameter($"{its.Path}.weight")!;
            var before = W.detach().clone();
            loaded.UNet.Merge(loaded.Name);
            Assert.Equal(0, Fixtures.MaxDifference(before + expected, W.detach()));
            loaded.UNet.Unmerge();
        });
    }

    [Theory]
    [InlineData("a.lora_A.weight", false)]
    [InlineData("a.lora_B.weight", true)]
    [InlineData("a.lora_B.bias", true)]
    [InlineData("a.lora_mid.weight", false)]
    [InlineData("a.lora_embedding_A", false)]
    [InlineData("a.lora_embedding_B", true)]
    public void IsB_OfLora_IsTheFactorThatBeginsAtZero(string name, bool expected) => Assert.Equal(expected, AdapterMethod.Lora.IsB(name));

    /// <summary>A bound of ‖ΔW‖ is shared by both factors: each gets the root.</summary>
    [Fact]
    public void ScaleUpdate_OfLora_MultipliesBothFactorsByTheRoot()
    {
        using var model = new TinyNetwork();
        using var generator = new Generator(1);
        using var adapted = new AdaptedModel(model);
        adapted.Add("a", new LoraConfig { Rank = 2, TargetModules = ["to_q"] }, generator);
        using var noGrad = no_grad();
        adapted.NamedParameters("a").ToList().ForEach(static p => p.Parameter.fill_(3));

        Assert.True(((LowRankLayer)adapted.GetLayers("a")[0]).ScaleUpdate(0.25));

        Assert.All(adapted.NamedParameters("a"), static p => Assert.All(p.Parameter.data<float>().ToArray(), static value => Assert.Equal(1.5f, value)));
    }

    /// <summary>
    /// y + w·f(dropout(x); ΔW) for a method that says no more of its forward, but the ids of an embedding are no numbers to drop; what releases it is told
    /// that it is disposed.
    /// </summary>
    [Fact]
    public void Forward_OfAMethodWithoutOneOfItsOwn_DropsInputsButNotIds()
    {
        using var scope = NewDisposeScope();
        using var line = nn.Linear(2, 3);
        using var token = nn.Embedding(3, 2);
        var (first, second) = (new Doubled(WeightLayer.From("line", line, null)!), new Doubled(WeightLayer.From("token", token, null)!));

        // ΔW is 0 1; 2 3; 4 5, and x is doubled.
        Assert.Equal([4f, 12, 20], first.Add(ones(3), tensor(new[] { 1f, 3 }), 0.5).data<float>().ToArray());
        Assert.Equal([2f, 2.5f], second.Add(ones(2), tensor(1L), 0.5).data<float>().ToArray());
        Assert.Null(first.Disposing);
        first.Dispose();
        Assert.True(first.Disposing);
    }

    private sealed class Doubled(WeightLayer layer)
        : LowRankLayer(layer, new LayerLayout { Method = AdapterMethod.Lora, Rank = 1, Alpha = 1, Scale = 1 })
    {
        public bool? Disposing { get; private set; }

        public override Tensor WeightDelta() => arange(BaseLayer.Weight.numel(), ScalarType.Float32).reshape(BaseLayer.Weight.shape);

        protected internal override Tensor Dropout(Tensor x) => x * 2;

        protected override void Dispose(bool disposing)
        {
            Disposing = disposing;
            base.Dispose(disposing);
        }
    }

    /// <summary>What its layers share is made once for all of one size, and released with them.</summary>
    [Fact]
    public void Shared_OfAnAdapter_IsMadeOnce()
    {
        using var shared = new SharedTensors();
        var made = 0;

        var first = shared.Get("P", CPU, Make);
        Assert.Same(first, shared.Get("P", CPU, Make));
        Assert.NotSame(first, shared.Get("Q", CPU, Make));
        Assert.Equal(2, made);

        shared.Dispose();

        Assert.True(first.IsInvalid);
        Assert.Equal(3, shared.Get("P", CPU, Make).numel());

        Tensor Make() => zeros(++made);
    }

    /// <summary>An adapter that goes, or that cannot be made for all of its layers, takes along what they share.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData("to_out")]
    public void Shared_OfAnAdapterThatGoes_IsReleased(string? unsuited)
    {
        using var model = new TinyNetwork();
        using var generator = new Generator(1);
        using var adapted = new AdaptedModel(model);
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        var error = Record.Exception(() => adapted.Add(
            "a", new LoraConfig { Method = _rows with { Unsuited = unsuited }, Rank = 2, TargetModules = ["to_q", "to_out"] }, generator));
        if (unsuited is null)
        {
            adapted.Remove("a");
        }

        Assert.Equal(unsuited is null ? null : "'to_out' is not suited.", error?.Message);
        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Method_ThatHonoursNothing_RefusesEachSettingByName()
    {
        var config = new LoraConfig
        {
            Method = _rows,
            TargetModules = ["to_q"],
            Dropout = 0.5,
            UseRsLora = true,
            UseDora = true,
            UseLoraBias = true,
            UseEffectiveConv2d = true,
            Initialization = LoraInitialization.Gaussian,
        };

        Assert.Equal(
            [
                "UseLoraBias: got True with Rows, expected it only with Lora",
                "UseRsLora: got True with Rows, expected it only with Lora",
                "Dropout: got 0.5 with Rows, expected it only with Lora",
                "Initialization: got Gaussian with Rows, expected it only with Lora",
                "UseDora: got True with Rows, expected it only with Lora, Loha, Lokr",
                "UseEffectiveConv2d: got True with Rows, expected it only with Lora, Loha, Lokr",
            ],
            config.Validate());
        Assert.DoesNotContain("use_effective_conv2d", new LoraConfig { Method = _rows, TargetModules = ["to_q"] }.ToPeftJson().Select(static pair => pair.Key));
        Assert.Contains(
            "ScaleWeightNorms: got 1 with UNetLora of Rows",
            Assert.Single(
                new DiffusionTrainingConfig { ScaleWeightNorms = 1, UNetLora = new LoraConfig { Method = _rows, TargetModules = ["to_q"] } }.Validate()));
    }

    [Fact]
    public void Register_OfNamesThatAreTaken_IsRefused()
    {
        var before = AdapterMethod.All;

        Assert.Equal(
            "Unheard: Rows already is PEFT's ROWS, expected a type of its own.",
            Assert.Throws<ArgumentException>(() => AdapterMethod.Register(new ScaledRows { IsRegistered = false })).Message);
        Assert.Equal(
            "X: other methods already have tensors of the names hada_t1, expected names of its own.",
            Assert.Throws<ArgumentException>(() => LoraNames.Add(new LoraDialect("X", "x", [new("hada_t1")]))).Message);
        AdapterMethod.Unregister(_rows);
        Assert.Null(LoraNames.OwnerOf("a.rows_R"));
        Assert.Same(_rows, AdapterMethod.Register(_rows));
        Assert.Equal(before, AdapterMethod.All);
        Assert.StartsWith(
            "Got method 'no', expected one of Lora, Loha, Lokr, Rows.",
            Assert.Throws<ArgumentException>(() => AdapterMethod.Named("no")).Message);
    }
}
