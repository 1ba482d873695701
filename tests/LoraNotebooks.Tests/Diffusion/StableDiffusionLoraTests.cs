using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class StableDiffusionLoraTests : IDisposable
{
    private static readonly LoraConfig UNetConfig = new() { Rank = 3, Alpha = 2, TargetModules = ["to_q", "to_out.0", "conv1"], RankPattern = new Dictionary<string, int> { ["conv1"] = 2 } };
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

    [Theory]
    [InlineData("kohya")]
    [InlineData("peft")]
    [InlineData("diffusers")]
    public void SavedLora_OfEveryKind_ReadsBackToTheSameOutputAndTheSameBytes(string kind)
    {
        var (first, second) = (_folder.In("first", "lora.safetensors"), _folder.In("second", "lora.safetensors"));
        Tensor expected;
        using (var lora = Trained())
        {
            expected = Output();
            Save(lora, kind, first);
        }

        Assert.True(Fixtures.MaxDifference(expected, Output()) > 0.01);
        using var loaded = StableDiffusionLora.Load(_pipeline, kind == "kohya" ? first : Path.GetDirectoryName(first)!, "mine");
        Save(loaded, kind, second);

        Assert.InRange(Fixtures.MaxDifference(expected, Output()), 0, 1e-6);
        var files = Directory.EnumerateFiles(_folder.In("first"), "*", SearchOption.AllDirectories).ToList();
        Assert.Equal(kind == "peft" ? 4 : 1, files.Count);
        Assert.All(files, file => Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(file.Replace(_folder.In("first"), _folder.In("second")))));
    }

    [Fact]
    public void KohyaFile_OfATrainedLora_HasUpstreamsNamesAndFacts()
    {
        using var lora = Trained();
        var path = _folder.In("mine.safetensors");

        lora.SaveKohya(path, new Dictionary<string, string> { ["ss_output_name"] = "mine", ["ss_network_dim"] = "a lie" }, ScalarType.Float16);

        using var file = SafetensorsFile.Open(path);
        Assert.Equal([3L, 8L], file.Tensors["lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"].Shape);
        Assert.Equal([12L, 2L], file.Tensors["lora_te_text_model_encoder_layers_1_mlp_fc1.lora_up.weight"].Shape);
        Assert.Empty(file.Tensors["lora_unet_mid_block_resnets_0_conv1.alpha"].Shape);
        Assert.Equal(2, file.Load("lora_unet_mid_block_resnets_0_conv1.alpha", ScalarType.Float32).item<float>());
        Assert.All(file.Tensors.Values, tensor => Assert.Equal(ScalarType.Float16, tensor.DType));
        Assert.Equal(("networks.lora", "Dynamic", "Dynamic", "mine"), (file.Metadata["ss_network_module"], file.Metadata["ss_network_dim"], file.Metadata["ss_network_alpha"], file.Metadata["ss_output_name"]));
        Assert.Equal(KohyaFile.Hashes(path).Model, file.Metadata["sshs_model_hash"]);
        Assert.Equal(8, file.Metadata["sshs_legacy_hash"].Length);
    }

    /// <summary>Only what is known: a model that was put together has no name, a folder no hash.</summary>
    [Fact]
    public void KohyaFile_OfALora_TellsItsBaseModelAsFarAsItIsKnown()
    {
        _pipeline.Save(_folder.In("my-base"));
        using var loaded = StableDiffusionPipeline.FromFolder(_folder.In("my-base"));
        foreach (var (model, name) in new[] { (_pipeline, "nameless"), (loaded, "named") })
        {
            using var lora = StableDiffusionLora.Create(model, name, UNetConfig, null, seed: 1);
            lora.SaveKohya(_folder.In($"{name}.safetensors"));
        }

        using var nameless = SafetensorsFile.Open(_folder.In("nameless.safetensors"));
        using var named = SafetensorsFile.Open(_folder.In("named.safetensors"));
        Assert.False(nameless.Metadata.ContainsKey("ss_sd_model_name"));
        Assert.Equal("my-base", named.Metadata["ss_sd_model_name"]);
        Assert.DoesNotContain(named.Metadata.Keys, static key => key.EndsWith("sd_model_hash", StringComparison.Ordinal));
        Assert.Equal(
            ("1.0.1", "stable-diffusion-v1/lora", "v", "16x16", "named", "sd_v1_v", "False"),
            (named.Metadata["modelspec.sai_model_spec"], named.Metadata["modelspec.architecture"], named.Metadata["modelspec.prediction_type"], named.Metadata["modelspec.resolution"], named.Metadata["modelspec.title"], named.Metadata["ss_base_model_version"], named.Metadata["ss_v2"]));
    }

    [Fact]
    public void KohyaHashes_OfACheckpoint_AreOfTheWholeFileAndOfItsWindow()
    {
        var bytes = new byte[0x100000 + 0x18000];
        new Random(1).NextBytes(bytes);
        File.WriteAllBytes(_folder.In("model.safetensors"), bytes);

        var (model, legacy) = KohyaHashes.OfCheckpoint(_folder.In("model.safetensors"));

        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)), model);
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes.AsSpan(0x100000, 0x10000)))[..8], legacy);
    }

    [Fact]
    public void KohyaFile_OfARankStabilizedLora_HoldsTheAlphaThatOtherToolsNeed()
    {
        using (var lora = StableDiffusionLora.Create(_pipeline, "mine", UNetConfig with { UseRsLora = true }, null, 1))
        {
            Fill(lora);
            lora.SaveKohya(_folder.In("rs.safetensors"));
        }

        var expected = With(_folder.In("rs.safetensors"));
        using var again = StableDiffusionLora.Create(_pipeline, "mine", UNetConfig with { UseRsLora = true }, null, 1);
        Fill(again);

        Assert.InRange(Fixtures.MaxDifference(expected, Output()), 0, 1e-6);
    }

    [Fact]
    public void Load_OfStrangeKeys_ReportsThemAllAndLeavesThePipelineAlone()
    {
        using (var lora = Trained())
        {
            lora.SaveKohya(_folder.In("good.safetensors"));
        }

        var tensors = SafetensorsFile.LoadAll(_folder.In("good.safetensors"));
        const string Layer = "lora_unet_mid_block_resnets_0_conv1";
        tensors.Remove($"{Layer}.lora_up.weight");
        tensors["lora_unet_no_such_module.lora_down.weight"] = zeros(2, 2);
        tensors["lora_te_text_model_encoder_layers_0_mlp_fc1.diff_b"] = zeros(2);
        SafetensorsFile.Write(_folder.In("bad.safetensors"), tensors);
        var before = Output();

        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, _folder.In("bad.safetensors"), strict: true)).Message;

        Assert.Contains("3 faults", message);
        Assert.Contains($"missing: {Layer}.lora_up.weight", message);
        Assert.Contains("unexpected: lora_unet_no_such_module.lora_down.weight (the model has no such module)", message);
        Assert.Contains("unsupported: lora_te_text_model_encoder_layers_0_mlp_fc1.diff_b (whole differences", message);
        Assert.Equal(0, Fixtures.MaxDifference(before, Output()));
        Assert.Contains(_pipeline.UNet.parameters(), p => p.requires_grad);
    }

    /// <summary>The names that diffusers has written over the years, with and without the network's; such files have no metadata, so α = r.</summary>
    [Theory]
    [InlineData("unet.", ".lora.down.weight", ".lora.up.weight", ".", ".")]
    [InlineData("unet.", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", ".", ".")]
    [InlineData("unet.", "_lora.down.weight", "_lora.up.weight", ".processor.", "_lora")]
    [InlineData("", "_lora.down.weight", "_lora.up.weight", ".processor.", "_lora")]
    public void Load_OfAnyStyleOfDiffusers_GivesTheSameOutput(string network, string down, string up, string processor, string kind)
    {
        var config = new LoraConfig { Rank = 3, Alpha = 3, TargetModules = ["to_q", "to_out.0"] };
        using (var lora = StableDiffusionLora.Create(_pipeline, "new", config, null, seed: 2))
        {
            Fill(lora);
            lora.SaveDiffusers(_folder.In("new"));
        }

        var expected = Loaded(_folder.In("new"));
        var renamed = SafetensorsFile.LoadAll(_folder.In("new", "pytorch_lora_weights.safetensors")).ToDictionary(pair => network + Old(pair.Key["unet.".Length..]), pair => pair.Value);
        SafetensorsFile.Write(_folder.In("old.safetensors"), renamed);

        Assert.Equal(0, Fixtures.MaxDifference(expected, Loaded(_folder.In("old.safetensors"))));

        string Old(string name)
        {
            name = name.Replace(".lora_A.weight", down, StringComparison.Ordinal).Replace(".lora_B.weight", up, StringComparison.Ordinal);
            return kind == "_lora" ? name.Replace(".to_out.0_lora", ".to_out_lora", StringComparison.Ordinal).Replace(".to_", $"{processor}to_", StringComparison.Ordinal) : name;
        }

        Tensor Loaded(string path)
        {
            using var lora = StableDiffusionLora.Load(_pipeline, path);
            return Output();
        }
    }

    [Fact]
    public void Load_OfSomethingElse_SaysWhatWasExpected()
    {
        SafetensorsFile.Write(_folder.In("other.safetensors"), new Dictionary<string, Tensor> { ["model.weight"] = zeros(2) });

        Assert.Contains("expected 'lora_unet_…' or 'unet.…'", Assert.Throws<InvalidDataException>(() => StableDiffusionLora.Load(_pipeline, _folder.In("other.safetensors"))).Message);
        Assert.Contains("pytorch_lora_weights.safetensors", Assert.Throws<FileNotFoundException>(() => StableDiffusionLora.Load(_pipeline, _folder.Path)).Message);
    }

    [Fact]
    public void SaveKohya_OfATrainedBias_IsRefusedByName()
    {
        using var lora = StableDiffusionLora.Create(_pipeline, "mine", UNetConfig with { Bias = BiasTraining.LoraOnly }, null, 1);

        var message = Assert.Throws<ArgumentException>(() => lora.SaveKohya(_folder.In("mine.safetensors"))).Message;

        Assert.Contains("- mid_block.resnets.0.conv1.base_layer.bias", message);
        Assert.False(File.Exists(_folder.In("mine.safetensors")));
    }

    [Fact]
    public void Weight_AtZeroOrSwitchedOff_IsTheBaseAndComesBack()
    {
        var plain = Output();
        using var lora = Trained();
        var full = Output();

        lora.Weight = 0.5;
        var half = Output();
        lora.Enabled = false;
        var off = Output();
        lora.Enabled = true;
        var again = Output();
        lora.Weight = 0;

        Assert.True(Fixtures.MaxDifference(half, full) > 0.001);
        Assert.Equal(0, Fixtures.MaxDifference(plain, off));
        Assert.Equal(0, Fixtures.MaxDifference(half, again));
        Assert.Equal(0, Fixtures.MaxDifference(plain, Output()));
        Assert.Throws<ArgumentException>(() => lora.Weight = double.NaN);
    }

    [Fact]
    public void Loras_OnOnePipeline_LeaveItAsItWasWhenTheLastGoes()
    {
        var plain = Output();
        var trainable = _pipeline.UNet.parameters().Count(p => p.requires_grad);
        var first = Trained("first");
        var alone = Output();
        var second = Trained("second");

        Assert.Throws<ArgumentException>(() => Trained("first"));
        second.UNet!.Merge("second");
        second.Dispose();
        Assert.InRange(Fixtures.MaxDifference(alone, Output()), 0, 0);
        Assert.DoesNotContain(_pipeline.UNet.parameters(), p => p.requires_grad);
        first.Dispose();
        Assert.Equal(0, Fixtures.MaxDifference(plain, Output()));
        Assert.Equal(trainable, _pipeline.UNet.parameters().Count(p => p.requires_grad));
    }

    [Fact]
    public void Create_WithoutTextEncoder_TrainsTheUNetOnly()
    {
        using var lora = StableDiffusionLora.Create(_pipeline, "mine", UNetConfig, null, 1);

        Assert.Null(lora.TextEncoder);
        Assert.Empty(lora.TextEncoderParameters);
        Assert.NotEmpty(lora.UNetParameters);
        Assert.Single(lora.Reports);
        Assert.Contains(_pipeline.TextEncoder.parameters(), p => p.requires_grad);
    }

    private static void Save(StableDiffusionLora lora, string kind, string path)
    {
        switch (kind)
        {
            case "kohya":
                lora.SaveKohya(path);
                break;
            case "peft":
                lora.SavePeft(Path.GetDirectoryName(path)!);
                break;
            default:
                lora.SaveDiffusers(Path.GetDirectoryName(path)!);
                break;
        }
    }

    private static void Fill(StableDiffusionLora lora)
    {
        using var generator = new Generator(5);
        using var noGrad = no_grad();
        foreach (var parameter in lora.UNetParameters.Concat(lora.TextEncoderParameters))
        {
            parameter.normal_(0, 0.3, generator);
        }
    }

    private StableDiffusionLora Trained(string name = "mine")
    {
        var lora = StableDiffusionLora.Create(_pipeline, name, UNetConfig, TextConfig, seed: 3);
        Fill(lora);
        return lora;
    }

    private Tensor With(string path)
    {
        using var lora = StableDiffusionLora.Load(_pipeline, path);
        return Output();
    }

    private Tensor Output()
    {
        using var noGrad = no_grad();
        return _pipeline.UNet.call(linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8).sin(), tensor(new long[] { 400 }), _pipeline.EncodePrompts(["long hair"]));
    }
}
