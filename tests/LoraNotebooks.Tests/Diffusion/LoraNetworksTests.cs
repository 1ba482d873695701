using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>What is done to a LoRA is done to every network that it changes, and to no other.</summary>
public sealed class LoraNetworksTests : IDisposable
{
    private static readonly LoraConfig UNetConfig = new() { Rank = 2, Alpha = 2, TargetModules = ["to_q"] };
    private static readonly LoraConfig TextConfig = new() { Rank = 3, Alpha = 3, TargetModules = ["q_proj"] };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _xl = TinyPipeline.CreateXL();

    public void Dispose()
    {
        _xl.Dispose();
        _folder.Dispose();
        _scope.Dispose();
    }

    [Theory]
    [InlineData(true, true, "unet,text_encoder,text_encoder_2")]
    [InlineData(true, false, "unet")]
    [InlineData(false, true, "text_encoder,text_encoder_2")]
    public void Create_OnSdxl_AttachesToTheNetworksThatHaveSettings(bool unet, bool text, string names)
    {
        using var lora = StableDiffusionLora.Create(_xl, "mine", unet ? UNetConfig : null, text ? TextConfig : null, seed: 3);

        Assert.Equal(names.Split(','), lora.Networks.Select(static network => network.Name));
        Assert.All(lora.Networks, static network => Assert.Equal(network.Name != "unet", network.IsTextEncoder));
        Assert.Equal((unet, text, text), (lora.UNet is not null, lora.TextEncoder is not null, lora.TextEncoder2 is not null));
        Assert.Equal(
            (unet ? _xl.UNet : null, text ? _xl.TextEncoder : null, text ? _xl.TextEncoder2 : null),
            (lora.UNet?.BaseModel, lora.TextEncoder?.BaseModel, lora.TextEncoder2?.BaseModel));
        Assert.Equal(names.Split(',').Select(static name => $"mine, {name}"), lora.Reports.Select(static report => report.Name));

        // Two matrices a projection: in the UNet's three transformers of 12 and of 8 channels, and in three layers of each text encoder.
        Assert.Equal(unet ? lora.UNet!.GetLayers("mine").Count * 2 : 0, lora.UNetParameters.Count);
        Assert.Equal(text ? 2 * 2 * 3 : 0, lora.TextEncoderParameters.Count);
        Assert.Equal("mine", lora.Name);
        Assert.Empty(lora.Metadata);
        Assert.Empty(lora.Notes);
    }

    [Fact]
    public void Create_OfASeed_DrawsTheSameNumbersAndOfAnotherOthers()
    {
        var (first, again, other) = (Numbers(3), Numbers(3), Numbers(-4));
        Assert.Equal(first, again);
        Assert.All(
            first.Zip(other).Where(static pair => pair.First.Any(static number => number != 0)),
            static pair => Assert.NotEqual(pair.First, pair.Second));

        List<float[]> Numbers(long seed)
        {
            using var lora = StableDiffusionLora.Create(_xl, "mine", UNetConfig, TextConfig, seed);
            return [.. lora.UNetParameters.Concat(lora.TextEncoderParameters).Select(static parameter => parameter.data<float>().ToArray())];
        }
    }

    [Fact]
    public void WeightAndEnabled_AreThoseOfEveryNetwork()
    {
        using var lora = Filled();
        Check(1, 1, true);
        lora.Weight = 0.25;
        Check(0.25, 0.25, true);
        lora.Enabled = false;
        Check(0, 0.25, false);
        lora.Weight = -2;
        Check(0, -2, false);
        lora.Enabled = true;
        Check(-2, -2, true);
        Assert.Contains("Got weight Infinity for LoRA 'mine'", Assert.Throws<ArgumentException>(() => lora.Weight = double.PositiveInfinity).Message);
        Check(-2, -2, true);

        void Check(double acting, double weight, bool enabled)
        {
            Assert.Equal((weight, enabled), (lora.Weight, lora.Enabled));
            Assert.All(lora.Networks, network => Assert.Equal(acting, network.Model.GetWeight("mine")));
        }
    }

    /// <summary>W' = W + w·α/r·B·A in each network; taken out again, W is what it was, bit for bit.</summary>
    [Fact]
    public void Merge_AtAWeight_IsTheSumInEveryNetworkUntilItIsDisposed()
    {
        var before = Projections();
        List<Tensor> merged, expected;
        using (var lora = Filled())
        {
            lora.Weight = 0.5;
            expected = [.. lora.Networks.Zip(before, (network, weight) =>
            {
                var (a, b) = (network.Model.NamedParameters("mine").ElementAt(0).Parameter, network.Model.NamedParameters("mine").ElementAt(1).Parameter);
                return (weight.to(ScalarType.Float64) + 0.5 * matmul(b.detach().to(ScalarType.Float64), a.detach().to(ScalarType.Float64)));
            })];
            lora.Merge();
            merged = Projections();
            Assert.Throws<InvalidOperationException>(lora.Merge);
            Assert.Throws<InvalidOperationException>(() => lora.Weight = 1);
            Assert.Throws<InvalidOperationException>(() => lora.Enabled = false);
            Assert.Equal((0.5, true), (lora.Weight, lora.Enabled));
            Assert.All(lora.Networks, static network => Assert.Equal(["mine"], network.Model.MergedNames));
        }

        Assert.All(expected.Zip(merged), static pair => Assert.InRange(Fixtures.MaxDifference(pair.First, pair.Second), 0, 1e-6));
        Assert.All(before.Zip(Projections()), static pair => Assert.Equal(0, Fixtures.MaxDifference(pair.First, pair.Second)));
        Assert.Empty(StableDiffusionLora.BesideNetworksOf(_xl));
    }

    [Fact]
    public void Merge_ThatOneNetworkRefuses_MergesNone()
    {
        var before = Projections();
        using var lora = Filled();
        using (no_grad())
        {
            lora.TextEncoderParameters[^1].fill_(float.NaN);
        }

        Assert.Throws<InvalidOperationException>(lora.Merge);

        Assert.All(lora.Networks, static network => Assert.Empty(network.Model.MergedNames));
        Assert.All(before.Zip(Projections()), static pair => Assert.Equal(0, Fixtures.MaxDifference(pair.First, pair.Second)));
        lora.Weight = 0.5;
    }

    [Fact]
    public void BesideNetworksOf_APipeline_TellsEachAdapterWithItsWeight()
    {
        Assert.Empty(StableDiffusionLora.BesideNetworksOf(_xl));
        using var first = StableDiffusionLora.Create(_xl, "style", UNetConfig, null, 1);
        using var second = StableDiffusionLora.Create(_xl, "mika", UNetConfig, TextConfig, 1);
        (first.Weight, second.Weight) = (0.8, -1.5);
        Assert.Equal(
            ["unet: mika × -1.5", "unet: style × 0.8", "text_encoder: mika × -1.5", "text_encoder_2: mika × -1.5"],
            StableDiffusionLora.BesideNetworksOf(_xl));
        first.Merge();
        second.TextEncoder!.Enabled = false;
        Assert.Equal(
            ["unet: mika × -1.5", "unet: style × 0.8, merged", "text_encoder: mika × -1.5, off", "text_encoder_2: mika × -1.5"],
            StableDiffusionLora.BesideNetworksOf(_xl));
    }

    /// <summary>No two networks drop the same numbers: each has the seed times a factor of its own.</summary>
    [Fact]
    public void TrainEvalAndSeedDropout_ReachEveryNetwork()
    {
        using var lora = StableDiffusionLora.Create(_xl, "mine", UNetConfig with { Dropout = 0.5 }, TextConfig with { Dropout = 0.5 }, seed: 3);
        Fill(lora);
        lora.Eval();
        var quiet = Outputs();
        lora.Train();
        lora.SeedDropout(7);
        var dropped = Outputs();
        Assert.All(quiet.Zip(dropped), static pair => Assert.True(Fixtures.MaxDifference(pair.First, pair.Second) > 1e-4));
        foreach (var (i, network) in lora.Networks.Index())
        {
            network.Model.SeedDropout("mine", 7 * (31 + 6 * i));
        }

        Assert.All(dropped.Zip(Outputs()), static pair => Assert.InRange(Fixtures.MaxDifference(pair.First, pair.Second), 0, 1e-6));
        lora.SeedDropout(8);
        Assert.All(dropped.Zip(Outputs()), static pair => Assert.True(Fixtures.MaxDifference(pair.First, pair.Second) > 1e-4));
        lora.Eval();
        Assert.All(quiet.Zip(Outputs()), static pair => Assert.InRange(Fixtures.MaxDifference(pair.First, pair.Second), 0, 1e-6));
    }

    [Theory]
    [InlineData("kohya", "lora_unet_,lora_te1_,lora_te2_")]
    [InlineData("diffusers", "unet.,text_encoder.,text_encoder_2.")]
    [InlineData("peft", "base_model.")]
    public void SavedLora_OfSdxl_HasEveryNetworkUnderItsName(string kind, string prefixes)
    {
        foreach (var (unet, text) in new[] { (true, true), (true, false), (false, true) })
        {
            foreach (var type in new[] { ScalarType.Float32, ScalarType.Float16 })
            {
                var path = _folder.In($"{kind}-{unet}-{text}-{type}");
                Dictionary<string, Tensor> saved;
                using (var lora = StableDiffusionLora.Create(_xl, "mine", unet ? UNetConfig : null, text ? TextConfig : null, seed: 3))
                {
                    Fill(lora);
                    saved = States(lora);
                    path = Save(lora, kind, path, type);
                }

                var names = (unet ? (string[])["unet"] : []).Concat(text ? ["text_encoder", "text_encoder_2"] : []).ToList();
                var files = File.Exists(path) ? [path] : Directory.GetFiles(path, "*.safetensors", SearchOption.AllDirectories);
                Assert.Equal(kind == "peft" ? names.Count : 1, files.Length);
                var tensors = files.SelectMany(static file => SafetensorsFile.LoadAll(file)).ToList();
                Assert.All(tensors, tensor => Assert.Equal(type, tensor.Value.dtype));
                Assert.All(tensors, tensor => Assert.Contains(prefixes.Split(','), prefix => tensor.Key.StartsWith(prefix, StringComparison.Ordinal)));
                Assert.All(
                    prefixes.Split(',').Where((_, i) => kind != "peft" && (i == 0 ? unet : text)),
                    prefix => Assert.Contains(tensors, tensor => tensor.Key.StartsWith(prefix, StringComparison.Ordinal)));

                using var loaded = StableDiffusionLora.Load(_xl, path, "again", strict: true);
                Assert.Equal(names, loaded.Networks.Select(static network => network.Name));
                var read = States(loaded);
                Assert.Equal(saved.Keys.Order(StringComparer.Ordinal), read.Keys.Order(StringComparer.Ordinal));
                Assert.All(saved, pair => Assert.InRange(Fixtures.MaxDifference(pair.Value, read[pair.Key]), 0, type == ScalarType.Float32 ? 0 : 1e-3));
            }
        }
    }

    [Fact]
    public void Load_WithoutAName_TakesTheFilesOrFolders()
    {
        using (var lora = Filled())
        {
            lora.SaveKohya(_folder.In("my.style.safetensors"));
            lora.SavePeft(_folder.In("peft"));
        }

        using (var loaded = StableDiffusionLora.Load(_xl, _folder.In("my.style.safetensors")))
        {
            Assert.Equal("my.style", loaded.Name);
            Assert.Throws<ArgumentException>(() => StableDiffusionLora.Load(_xl, _folder.In("my.style.safetensors")));
            Assert.Equal(["my.style"], loaded.UNet!.Names);
        }

        using var peft = StableDiffusionLora.Load(_xl, _folder.In("peft") + Path.DirectorySeparatorChar);
        Assert.Equal("peft", peft.Name);
    }

    /// <summary>What the model tells, over it what kohya's tools noted in the file that was loaded, over both what is given now.</summary>
    [Fact]
    public void SaveKohya_OfALoadedFile_CarriesItsFactsAndNoOthers()
    {
        using (var lora = Filled())
        {
            lora.SaveKohya(_folder.In("first.safetensors"), new Dictionary<string, string> { ["ss_epoch"] = "3", ["modelspec.author"] = "me", ["ss_steps"] = "10", ["format"] = "pt", ["modelspec.title"] = "a title" });
        }

        using var loaded = StableDiffusionLora.Load(_xl, _folder.In("first.safetensors"), "renamed");
        loaded.SaveKohya(_folder.In("second.safetensors"), new Dictionary<string, string> { ["ss_steps"] = "20" });
        using var file = SafetensorsFile.Open(_folder.In("second.safetensors"));

        Assert.Equal(
            ("3", "me", "20", "a title"),
            (file.Metadata["ss_epoch"], file.Metadata["modelspec.author"], file.Metadata["ss_steps"], file.Metadata["modelspec.title"]));
        Assert.Equal("3", loaded.Metadata["ss_epoch"]);
        Assert.Equal(
            ("stable-diffusion-xl-v1-base/lora", "https://github.com/Stability-AI/generative-models"),
            (file.Metadata["modelspec.architecture"], file.Metadata["modelspec.implementation"]));
        Assert.Equal("pt", loaded.Metadata["format"]);
        Assert.False(file.Metadata.ContainsKey("format"));
    }

    [Theory]
    [InlineData(6, PredictionType.Epsilon, "stable-diffusion-v1", "epsilon", "False", "sd_v1")]
    [InlineData(6, PredictionType.VPrediction, "stable-diffusion-v1", "v", "False", "sd_v1_v")]
    [InlineData(1024, PredictionType.Epsilon, "stable-diffusion-v2-512", "epsilon", "True", "sd_v2")]
    [InlineData(1024, PredictionType.VPrediction, "stable-diffusion-v2-768-v", "v", "True", "sd_v2_v")]
    public void BaseModelFacts_OfEveryFamily_AreInTheWordsOfKohyasTools(int width, PredictionType prediction, string architecture, string spec, string second, string version)
    {
        var tokenizer = ClipTokenizer.Train(["portrait"], vocabularySize: 520, modelMaxLength: 4);
        var text = new ClipTextModel(new() { VocabSize = tokenizer.VocabularySize, HiddenSize = width, IntermediateSize = 2, NumHiddenLayers = 1, NumAttentionHeads = 2, MaxPositionEmbeddings = 4, EosTokenId = (int)tokenizer.EosTokenId });
        var unet = new UNet2DConditionModel(TinyModels.UNet with { InChannels = 3, OutChannels = 3, SampleSize = 8, CrossAttentionDim = width }, new Generator(1));
        using var pipeline = new StableDiffusionPipeline(tokenizer, text, unet, new AutoencoderKL(TinyModels.Vae, new Generator(1)), TinyPipeline.Scheduler with { PredictionType = prediction });

        Assert.Equal(width == 1024 ? LoraArchitecture.StableDiffusion2 : LoraArchitecture.StableDiffusion1, BaseModelFacts.ArchitectureOf(pipeline));
        Assert.Equal(
            new Dictionary<string, string>
            {
                ["modelspec.sai_model_spec"] = "1.0.1",
                ["modelspec.architecture"] = $"{architecture}/lora",
                ["modelspec.implementation"] = "https://github.com/huggingface/diffusers",
                ["modelspec.resolution"] = "16x16",
                ["modelspec.prediction_type"] = spec,
                ["ss_v2"] = second,
                ["ss_base_model_version"] = version,
            },
            BaseModelFacts.Of(pipeline));
        Assert.Equal(LoraArchitecture.StableDiffusionXL, BaseModelFacts.ArchitectureOf(_xl));
    }

    [Fact]
    public void Create_ThatFails_LeavesNothingBehind()
    {
        var trainable = _xl.UNet.parameters().Count(static parameter => parameter.requires_grad);
        Assert.Contains(
            "Got neither settings for the UNet nor for the text encoder of LoRA 'mine'",
            Assert.Throws<ArgumentException>(() => StableDiffusionLora.Create(_xl, "mine", null, null, 1)).Message);
        Assert.Throws<ArgumentException>(() => StableDiffusionLora.Create(_xl, "mine", UNetConfig, TextConfig with { Rank = 0 }, 1));
        Assert.Throws<ArgumentException>(() => StableDiffusionLora.Create(_xl, "mine", UNetConfig with { TargetModules = ["nowhere"] }, null, 1));

        Assert.Empty(StableDiffusionLora.BesideNetworksOf(_xl));
        Assert.Equal(trainable, _xl.UNet.parameters().Count(static parameter => parameter.requires_grad));
        using (var lora = Filled())
        {
            Assert.Throws<ArgumentException>(() => StableDiffusionLora.Create(_xl, "mine", UNetConfig, null, 1));
            Assert.Equal(["mine"], lora.UNet!.Names);
        }
    }

    private static void Fill(StableDiffusionLora lora)
    {
        using var generator = new Generator(5);
        using var noGradient = no_grad();
        foreach (var parameter in lora.UNetParameters.Concat(lora.TextEncoderParameters))
        {
            parameter.normal_(0, 0.3, generator);
        }
    }

    private static string Save(StableDiffusionLora lora, string kind, string path, ScalarType type)
    {
        switch (kind)
        {
            case "kohya":
                lora.SaveKohya(path + ".safetensors", dtype: type);
                return path + ".safetensors";
            case "peft":
                lora.SavePeft(path, type);
                return path;
            default:
                lora.SaveDiffusers(path, type);
                return path;
        }
    }

    private StableDiffusionLora Filled()
    {
        var lora = StableDiffusionLora.Create(_xl, "mine", UNetConfig, TextConfig, seed: 3);
        Fill(lora);
        return lora;
    }

    private Dictionary<string, Tensor> States(StableDiffusionLora lora)
    {
        var all = new Dictionary<string, Tensor>();
        foreach (var network in lora.Networks)
        {
            using var state = network.Model.ToState(lora.Name);
            foreach (var (name, tensor) in state.Tensors)
            {
                all[$"{network.Name} {name}"] = tensor.clone();
            }
        }

        return all;
    }

    /// <summary>The first projection that is adapted in each network.</summary>
    private List<Tensor> Projections() =>
    [
        .. new (nn.Module Network, string End)[] { (_xl.UNet, "to_q.weight"), (_xl.TextEncoder, "q_proj.weight"), (_xl.TextEncoder2!, "q_proj.weight") }
            .Select(part => part.Network.named_parameters().First(pair => pair.name.Replace(".base_layer", "", StringComparison.Ordinal).EndsWith(part.End, StringComparison.Ordinal)).parameter.detach().clone()),
    ];

    private List<Tensor> Outputs()
    {
        using var noGradient = no_grad();
        var ids = tensor(new long[] { 5, 6, 7, 8 }).reshape(1, 4);
        var context = new Conditioning(linspace(-1, 1, 48).reshape(1, 4, 12), linspace(-1, 1, 5).reshape(1, 5), _xl.TimeIds(1));
        return
        [
            _xl.UNet.call(linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8).sin(), tensor(new long[] { 400 }), context),
            _xl.TextEncoder.call(ids),
            _xl.TextEncoder2!.call(ids),
        ];
    }
}
