using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters.Tools;

/// <summary>Work on LoRA files, judged by what the pipeline draws with them.</summary>
public sealed class LoraToolsTests : IDisposable
{
    private const double Tolerance = 1e-5;
    private static readonly LoraConfig UNetConfig = new()
    {
        Rank = 3,
        Alpha = 2,
        TargetModules = ["to_q", "to_out.0", "conv1"],
        RankPattern = new Dictionary<string, int> { ["conv1"] = 2 },
    };
    private static readonly LoraConfig TextConfig = new() { Rank = 2, TargetModules = ["q_proj", "fc1"] };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
        _scope.Dispose();
    }

    /// <summary>torch ends the process at some products whose factors do not fit each other.</summary>
    [Fact]
    public void Inspect_FactorsThatDoNotFitEachOther_NamesTheLayers()
    {
        var path = _folder.In("damaged.safetensors");
        SafetensorsFile.Write(path, new Dictionary<string, Tensor>
        {
            ["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"] = ones(8, 2),
            ["lora_unet_mid_block_attentions_0_proj_in.hada_w1_b"] = ones(3, 8),
            ["lora_unet_mid_block_attentions_0_proj_in.hada_w2_a"] = ones(8, 2),
            ["lora_unet_mid_block_attentions_0_proj_in.hada_w2_b"] = ones(2, 8),
            ["lora_unet_conv_in.lora_down.weight"] = ones(2, 3),
            ["lora_unet_conv_in.lora_up.weight"] = ones(8, 5),
            ["lora_unet_conv_out.lora_down.weight"] = ones(2, 3),
            ["lora_unet_conv_out.lora_up.weight"] = ones(8, 2),
        });

        var inspection = LoraInspection.Of(path);

        Assert.Empty(inspection.NotFinite);
        Assert.Equal(
            [
                "unet: conv_in (its factors are not all there, or do not fit each other)",
                "unet: mid_block.attentions.0.proj_in (its factors are not all there, or do not fit each other)"
            ],
            inspection.Damaged);
        Assert.Equal(2 * Math.Sqrt(24), inspection.Layers.Single(layer => layer.Module == "conv_out").Norm, 1e-9);
        Assert.Contains(
            "A is [2, 3] and B [8, 5]",
            Assert.Throws<InvalidDataException>(() => LoraMerging.Merge([(WithoutLoha(path), 1)], _folder.In("merged.safetensors"))).Message);
    }

    private string WithoutLoha(string path)
    {
        var plain = _folder.In("plain.safetensors");
        SafetensorsFile.Write(plain, SafetensorsFile.LoadAll(path).Where(static pair => !pair.Key.Contains("hada", StringComparison.Ordinal)).ToDictionary());
        return plain;
    }

    [Theory]
    [InlineData(LoraFileKind.Diffusers)]
    [InlineData(LoraFileKind.Peft)]
    public void Convert_ThereAndBack_GivesTheSameBytes(LoraFileKind other)
    {
        var kohya = Trained("kohya.safetensors");

        LoraConversion.Convert(kohya, _folder.In("other"), new LoraWriting { Kind = other });
        LoraConversion.Convert(_folder.In("other"), _folder.In("back.safetensors"), new LoraWriting());
        LoraConversion.Convert(_folder.In("back.safetensors"), _folder.In("other again"), new LoraWriting { Kind = other });

        // A PEFT folder has no place for a file's metadata; the weights and α are the same.
        if (other == LoraFileKind.Diffusers)
        {
            Assert.Equal(File.ReadAllBytes(kohya), File.ReadAllBytes(_folder.In("back.safetensors")));
        }

        AssertSameTensors(kohya, _folder.In("back.safetensors"));
        foreach (var file in Directory.GetFiles(_folder.In("other"), "*", SearchOption.AllDirectories))
        {
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(file.Replace(_folder.In("other"), _folder.In("other again"), StringComparison.Ordinal)));
        }

        Assert.InRange(Fixtures.MaxDifference(OutputWith(kohya), OutputWith(_folder.In("other"))), 0, 0);
    }

    [Fact]
    public void Convert_OfARankStabilizedLora_KeepsItsScale()
    {
        var peft = Trained("peft", UNetConfig with { UseRsLora = true }, save: static (lora, path) => lora.SavePeft(path));

        LoraConversion.Convert(peft, _folder.In("kohya.safetensors"), new LoraWriting());

        Assert.InRange(Fixtures.MaxDifference(OutputWith(peft), OutputWith(_folder.In("kohya.safetensors"))), 0, Tolerance);
    }

    [Fact]
    public void Convert_OfADora_KeepsItsLengths()
    {
        var peft = Trained("peft", UNetConfig with { UseDora = true }, save: static (lora, path) => lora.SavePeft(path));

        LoraConversion.Convert(peft, _folder.In("kohya.safetensors"), new LoraWriting());
        LoraConversion.Convert(_folder.In("kohya.safetensors"), _folder.In("again"), new LoraWriting { Kind = LoraFileKind.Peft });

        Assert.Contains(
            SafetensorsFile.LoadAll(_folder.In("kohya.safetensors")),
            static pair => pair.Key.EndsWith("conv1.dora_scale", StringComparison.Ordinal) && pair.Value.shape is [_, 1, 1, 1]);
        Assert.InRange(Fixtures.MaxDifference(OutputWith(peft), OutputWith(_folder.In("kohya.safetensors"))), 0, 0);
        AssertSameTensors(Path.Combine(peft, "unet", PeftFolder.WeightsName), _folder.In("again", "unet", PeftFolder.WeightsName));
    }

    [Fact]
    public void Convert_OfALoha_HasAPeftForm()
    {
        var kohya = Trained("loha.safetensors", UNetConfig with { Method = AdapterMethod.Loha }, TextConfig);

        LoraConversion.Convert(kohya, _folder.In("peft"), new LoraWriting { Kind = LoraFileKind.Peft });

        Assert.InRange(Fixtures.MaxDifference(OutputWith(kohya), OutputWith(_folder.In("peft"))), 0, 0);
    }

    [Theory]
    [InlineData(LoraFileKind.Peft)]
    [InlineData(LoraFileKind.Diffusers)]
    public void Convert_ToAKindThatCannotSayIt_IsRefusedAndWritesNothing(LoraFileKind kind)
    {
        var kohya = Trained(
            "lokr.safetensors",
            UNetConfig with { Method = AdapterMethod.Lokr with { DecomposeFactor = 2 }, Rank = 1, RankPattern = new Dictionary<string, int>() },
            TextConfig);

        var message = Assert.Throws<ArgumentException>(() => LoraConversion.Convert(kohya, _folder.In("other"), new LoraWriting { Kind = kind })).Message;

        Assert.Contains("unet: LoKr", message);
        Assert.False(Directory.Exists(_folder.In("other")));
    }

    [Fact]
    public void Resize_ToTheFullRank_IsExact()
    {
        var kohya = Trained("kohya.safetensors");

        var fits = LoraResizing.Resize(kohya, _folder.In("same.safetensors"), new RankChoice { Rank = 3, ConvolutionRank = 2 });

        Assert.All(fits, static fit => Assert.InRange(fit.RelativeError, 0, 1e-6));
        AssertSameProducts(kohya, _folder.In("same.safetensors"), 1e-6);
    }

    [Fact]
    public void Resize_ToASmallerRank_LosesWhatItSaysAndKeepsTheScale()
    {
        var kohya = Trained("kohya.safetensors");

        var fits = LoraResizing.Resize(kohya, _folder.In("small.safetensors"), new RankChoice { Rank = 1 });

        var (before, after) = (Products(kohya), Products(_folder.In("small.safetensors")));
        Assert.Equal(before.Count, fits.Count);
        Assert.All(fits, fit =>
        {
            var key = $"{fit.Network}.{fit.Module}";
            var (lost, whole) = ((before[key] - after[key]).norm().item<double>(), before[key].norm().item<double>());
            Assert.Equal(1, fit.Rank);
            Assert.Equal(whole, fit.Norm, 5);
            Assert.Equal(lost / whole, fit.RelativeError, 5);
            Assert.InRange(fit.RelativeError, 1e-3, 1);
        });
        using var file = SafetensorsFile.Open(_folder.In("small.safetensors"));
        Assert.Equal(("1", "Dynamic"), (file.Metadata["ss_network_dim"], file.Metadata["ss_network_alpha"]));
        Assert.Equal(2f / 3, file.Load(file.Tensors.Keys.First(static key => key.Contains("to_q.alpha", StringComparison.Ordinal))).item<float>(), 6);
        Assert.Equal(KohyaHashes.OfLora(file.Path).Model, file.Metadata["sshs_model_hash"]);
    }

    [Theory]
    [InlineData(RankRule.Ratio, 2.5, 2)]
    [InlineData(RankRule.Ratio, 100, 3)]
    [InlineData(RankRule.Frobenius, 0.9, 1)]
    [InlineData(RankRule.Frobenius, 0.99, 2)]
    [InlineData(RankRule.Cumulative, 0.6, 2)]
    [InlineData(RankRule.Cumulative, 1, 3)]
    [InlineData(RankRule.Fixed, 1, 3)]
    public void Rank_ByARule_IsTheOneOfKohya(RankRule rule, double target, int expected)
    {
        // Singular values 4, 2, 0.5: shares of the sum 0.62, 0.92, 1; of the norm 0.889, 0.994, 1.
        var rank = new RankChoice { Rank = 3, Rule = rule, Target = target }.Of(tensor(new[] { 4.0, 2.0, 0.5 }), isConvolution: false);

        Assert.Equal((rule, target) switch { (RankRule.Frobenius, 0.9) => 2, (RankRule.Cumulative, 0.6) => 1, _ => expected }, rank);
    }

    [Fact]
    public void Rank_OfNothing_IsOne() => Assert.Equal(1, new RankChoice { Rank = 3 }.Of(zeros(3), isConvolution: false));

    [Fact]
    public void Resize_OfAPeftFolder_KeepsItsOtherSettings()
    {
        var peft = Trained("peft", UNetConfig with { UseRsLora = true, Dropout = 0.25 }, save: static (lora, path) => lora.SavePeft(path));

        LoraResizing.Resize(peft, _folder.In("small"), new RankChoice { Rank = 3 }, new LoraWriting { Kind = LoraFileKind.Peft });

        using var state = PeftFolder.Read(_folder.In("small", "unet"));
        Assert.Equal((0.25, false), (LoraConfig.FromPeftJson(state.Config!).Dropout, LoraConfig.FromPeftJson(state.Config!).UseRsLora));
        Assert.InRange(Fixtures.MaxDifference(OutputWith(peft), OutputWith(_folder.In("small"))), 0, Tolerance);
    }

    [Fact]
    public void Merge_BySideBySide_IsTheSumAtTheWeights()
    {
        var (a, b) = (
            Trained("a.safetensors"),
            Trained("b.safetensors", UNetConfig with { Rank = 2, TargetModules = ["to_q", "to_k"], RankPattern = new Dictionary<string, int>() }, null));

        var fits = LoraMerging.Merge([(a, 0.7), (b, -0.4)], _folder.In("sum.safetensors"));

        Assert.All(fits, static fit => Assert.Equal(0, fit.RelativeError));
        Assert.InRange(Fixtures.MaxDifference(OutputWith((a, 0.7), (b, -0.4)), OutputWith(_folder.In("sum.safetensors"))), 0, Tolerance);
        using var file = SafetensorsFile.Open(_folder.In("sum.safetensors"));
        Assert.Equal("a.safetensors, b.safetensors", file.Metadata["modelspec.merged_from"]);
        Assert.Equal("stable-diffusion-v1/lora", file.Metadata["modelspec.architecture"]);
        Assert.False(file.Metadata.ContainsKey("ss_output_name"));
    }

    [Fact]
    public void Merge_ToARankThatHoldsAll_IsTheSumToo()
    {
        var (a, b) = (Trained("a.safetensors"), Trained("b.safetensors"));

        var fits = LoraMerging.Merge([(a, 1), (b, 0.5)], _folder.In("sum.safetensors"), new RankChoice { Rank = 6 });

        Assert.All(fits, static fit => Assert.InRange(fit.RelativeError, 0, 1e-9));
        Assert.InRange(Fixtures.MaxDifference(OutputWith((a, 1), (b, 0.5)), OutputWith(_folder.In("sum.safetensors"))), 0, Tolerance);
    }

    [Fact]
    public void Merge_OfWhatIsNotAProduct_IsRefusedByName()
    {
        var loha = Trained("loha.safetensors", UNetConfig with { Method = AdapterMethod.Loha }, null);

        var message = Assert.Throws<ArgumentException>(() => LoraMerging.Merge([(loha, 1)], _folder.In("sum.safetensors"))).Message;

        Assert.Contains("to_q.hada_w1_a", message);
        Assert.False(File.Exists(_folder.In("sum.safetensors")));
    }

    [Fact]
    public void MergedModel_DrawsWhatTheBaseDrawsWithTheLoras()
    {
        var (a, b) = (Trained("a.safetensors"), Trained("loha.safetensors", UNetConfig with { Method = AdapterMethod.Loha }, null));
        _pipeline.Save(_folder.In("base"));
        var expected = OutputWith((a, 0.8), (b, 0.5));

        MergedModel.Write(_folder.In("base"), [(a, 0.8), (b, 0.5)], _folder.In("merged"));

        using var merged = StableDiffusionPipeline.FromFolder(_folder.In("merged"));
        Assert.InRange(Fixtures.MaxDifference(expected, Output(merged)), 0, Tolerance);
        Assert.Throws<ArgumentException>(() => MergedModel.Write(_folder.In("base"), [(a, 1)], _folder.In("base")));
    }

    [Fact]
    public void Extract_OfABaseWithAKnownLora_GivesItBack()
    {
        var lora = Trained("lora.safetensors");
        _pipeline.Save(_folder.In("base"));
        MergedModel.Write(_folder.In("base"), [(lora, 1)], _folder.In("tuned"));

        var report = LoraExtraction.Extract(
            _folder.In("base"),
            _folder.In("tuned"),
            _folder.In("found.safetensors"),
            new RankChoice { Rank = 3, ConvolutionRank = 2 });

        // What is left is the rounding of W + ΔW to float32.
        Assert.Empty(report.LeftOut);
        Assert.All(report.Layers, static layer => Assert.InRange(layer.RelativeError, 0, 1e-5));
        AssertSameProducts(lora, _folder.In("found.safetensors"), 1e-5);
        Assert.InRange(Fixtures.MaxDifference(OutputWith(lora), OutputWith(_folder.In("found.safetensors"))), 0, 10 * Tolerance);
    }

    [Fact]
    public void Extract_OfWhatALoraCannotHold_NamesIt()
    {
        _pipeline.Save(_folder.In("base"));
        using (no_grad())
        {
            _pipeline.UNet.get_parameter("conv_in.bias")!.add_(1);
            _pipeline.UNet.get_parameter("conv_in.weight")!.add_(0.1);
        }

        _pipeline.Save(_folder.In("tuned"));

        var report = LoraExtraction.Extract(_folder.In("base", "unet"), _folder.In("tuned", "unet"), _folder.In("found.safetensors"), new RankChoice { Rank = 2 });

        Assert.Equal("unet: conv_in.bias", Assert.Single(report.LeftOut));
        Assert.Equal("conv_in", Assert.Single(report.Layers).Module);
        Assert.Throws<InvalidDataException>(() =>
            LoraExtraction.Extract(_folder.In("base"), _folder.In("base"), _folder.In("none.safetensors"), new RankChoice { Rank = 2 }));
        Assert.False(File.Exists(_folder.In("none.safetensors")));
    }

    [Theory]
    [InlineData("Lora", false)]
    [InlineData("Loha", false)]
    [InlineData("Lokr", false)]
    [InlineData("Loha", true)]
    [InlineData("Lokr", true)]
    public void Inspect_OfEachMethod_TellsTheNormOfTheUpdate(string name, bool core)
    {
        var method = AdapterMethod.Named(name);
        var peft = Trained(
            "peft",
            UNetConfig with { Method = method, UseEffectiveConv2d = core, Rank = 1, RankPattern = new Dictionary<string, int>() },
            null,
            static (lora, path) => lora.SavePeft(path));
        using var lora = StableDiffusionLora.Load(_pipeline, peft);
        var norms = lora.UNet!.GetLayers(lora.Name).ToDictionary(static layer => layer.Path, static layer => layer.WeightDelta()!.norm().item<float>());

        var inspection = LoraInspection.Of(peft);

        Assert.Equal(norms.Count, inspection.Layers.Count);
        Assert.All(inspection.Layers, layer => Assert.Equal(norms[layer.Module], layer.Norm, 1e-4 * (1 + norms[layer.Module])));
        Assert.All(inspection.Layers, layer => Assert.Equal((method, 2.0), (layer.Method, layer.Alpha)));
        Assert.Equal(inspection.Layers.Count, inspection.Blocks.Sum(static block => block.Layers));
    }

    [Fact]
    public void Inspect_OfAStrangeFile_ListsWhatIsNotUnderstoodAndTheHashes()
    {
        var kohya = Trained("kohya.safetensors");
        var tensors = SafetensorsFile.LoadAll(kohya);
        var name = tensors.Keys.First(static key => key.EndsWith("lora_down.weight", StringComparison.Ordinal))[..^".lora_down.weight".Length];
        tensors[$"{name}.w_norm"] = ones(2);
        tensors["something.else"] = ones(2);
        tensors[$"{name}.lora_up.weight"] *= float.NaN;
        using (var file = SafetensorsFile.Open(kohya))
        {
            SafetensorsFile.Write(_folder.In("strange.safetensors"), tensors, file.Metadata);
        }

        var (good, strange) = (LoraInspection.Of(kohya), LoraInspection.Of(_folder.In("strange.safetensors")));

        Assert.Equal((true, false), (good.HashIsAsNoted, strange.HashIsAsNoted));
        Assert.Empty(good.Unknown);
        Assert.Contains(strange.Unsupported, fault => fault.Contains($"{name}.w_norm", StringComparison.Ordinal));
        Assert.Contains(strange.Unknown, static fault => fault.Contains("something.else", StringComparison.Ordinal));
        Assert.Single(strange.NotFinite);
        Assert.Throws<InvalidDataException>(() =>
            LoraConversion.Convert(_folder.In("strange.safetensors"), _folder.In("out"), new LoraWriting { Kind = LoraFileKind.Diffusers }));
    }

    private static void AssertSameTensors(string expected, string actual)
    {
        var (mine, its) = (SafetensorsFile.LoadAll(expected), SafetensorsFile.LoadAll(actual));
        Assert.Equal(mine.Keys.Order(StringComparer.Ordinal), its.Keys.Order(StringComparer.Ordinal));
        Assert.All(mine, pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Value, its[pair.Key])));
    }

    private static void AssertSameProducts(string expected, string actual, double tolerance)
    {
        var (mine, its) = (Products(expected), Products(actual));
        Assert.Equal(mine.Keys.Order(StringComparer.Ordinal), its.Keys.Order(StringComparer.Ordinal));
        Assert.All(mine, pair => Assert.InRange(Fixtures.MaxDifference(pair.Value, its[pair.Key]), 0, tolerance));
    }

    /// <summary>s·B·A of every layer of a kohya file, from its tensors alone.</summary>
    private static Dictionary<string, Tensor> Products(string path)
    {
        using var file = LoraFile.Read(path);
        return file.States.SelectMany(network => network.Value.Ranks.Select(rank =>
        {
            var (A, B) = (network.Value.Tensors[rank.Key + LoraState.DownPart], network.Value.Tensors[rank.Key + LoraState.UpPart]);
            return KeyValuePair.Create(
                $"{network.Key}.{rank.Key}",
                network.Value.Alphas[rank.Key] / rank.Value * B.to(ScalarType.Float64).flatten(1).matmul(A.to(ScalarType.Float64).flatten(1)));
        })).ToDictionary();
    }

    private string Trained(string name) => Trained(name, UNetConfig, TextConfig);

    private string Trained(string name, LoraConfig unet, LoraConfig? text = null, Action<StableDiffusionLora, string>? save = null)
    {
        using var lora = StableDiffusionLora.Create(_pipeline, name, unet, text, seed: name.Length);
        using var generator = new Generator((ulong)name.Sum(static letter => letter));
        using (no_grad())
        {
            foreach (var parameter in lora.UNetParameters.Concat(lora.TextEncoderParameters))
            {
                parameter.add_(randn(parameter.shape, generator: generator), 0.2);
            }
        }

        (save ?? (static (trained, path) => trained.SaveKohya(path)))(lora, _folder.In(name));
        return _folder.In(name);
    }

    private Tensor OutputWith(string path) => OutputWith((path, 1));

    private Tensor OutputWith(params (string Path, double Weight)[] loras)
    {
        var attached = loras.Select((lora, i) => StableDiffusionLora.Load(_pipeline, lora.Path, $"{i}")).ToList();
        foreach (var (lora, (_, weight)) in attached.Zip(loras))
        {
            lora.Weight = weight;
        }

        var output = Output(_pipeline);
        attached.ForEach(static lora => lora.Dispose());
        return output;
    }

    private static Tensor Output(StableDiffusionPipeline pipeline)
    {
        using var noGrad = no_grad();
        using var generator = new Generator(5);
        var context = pipeline.EncodePrompts(["portrait, long hair"]);
        return pipeline.UNet.call(randn([1, 3, 8, 8], generator: generator), tensor(new long[] { 400 }), context);
    }
}
