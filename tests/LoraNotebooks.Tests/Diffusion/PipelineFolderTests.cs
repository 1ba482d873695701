using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>A model as a folder: what is written, what must be there, what its outline tells, and what merging writes.</summary>
public sealed class PipelineFolderTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Save_StableDiffusion_WritesUpstreamsIndex()
    {
        using var pipeline = TinyPipeline.Create();
        pipeline.Save(_folder.In("new"));
        Assert.Equal(
            """
            {
              "_class_name": "StableDiffusionPipeline",
              "_diffusers_version": "0.30.0",
              "feature_extractor": [
                null,
                null
              ],
              "requires_safety_checker": false,
              "safety_checker": [
                null,
                null
              ],
              "scheduler": [
                "diffusers",
                "DDIMScheduler"
              ],
              "text_encoder": [
                "transformers",
                "CLIPTextModel"
              ],
              "tokenizer": [
                "transformers",
                "CLIPTokenizer"
              ],
              "unet": [
                "diffusers",
                "UNet2DConditionModel"
              ],
              "vae": [
                "diffusers",
                "AutoencoderKL"
              ]
            }
            """.ReplaceLineEndings("\n"),
            File.ReadAllText(_folder.In("new", "model_index.json")).TrimEnd());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Save_Sdxl_WritesUpstreamsIndexAndReadsItBack(bool forces)
    {
        using var made = TinyPipeline.CreateXL();
        var text = new TextEncoders(made.Text.Tokenizers[0], made.Text.Encoders[0], made.Text.Tokenizers[1], made.Text.Encoders[1]) { ForceZerosForEmptyPrompt = forces };
        new StableDiffusionPipeline(text, made.UNet, made.Vae, made.Scheduler with { ClassName = "EulerDiscreteScheduler" }).Save(_folder.Path);

        var index = string.Concat(File.ReadAllText(_folder.In("model_index.json")).Where(static c => !char.IsWhiteSpace(c)));
        Assert.Equal(
            "{\"_class_name\":\"StableDiffusionXLPipeline\",\"_diffusers_version\":\"0.30.0\",\"force_zeros_for_empty_prompt\":" + (forces ? "true" : "false")
            + ",\"scheduler\":[\"diffusers\",\"EulerDiscreteScheduler\"],\"text_encoder\":[\"transformers\",\"CLIPTextModel\"],\"text_encoder_2\":[\"transformers\",\"CLIPTextModelWithProjection\"]"
            + ",\"tokenizer\":[\"transformers\",\"CLIPTokenizer\"],\"tokenizer_2\":[\"transformers\",\"CLIPTokenizer\"],\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],\"vae\":[\"diffusers\",\"AutoencoderKL\"]}",
            index);
        using var read = StableDiffusionPipeline.FromFolder(_folder.Path);
        Assert.Equal((true, forces, _folder.Path), (read.Text.IsDual, read.Text.ForceZerosForEmptyPrompt, read.Source));
        Assert.Equal(made.HashWeights(), read.HashWeights());
        Assert.NotEqual(made.Text.Tokenizers[0].Encode("a"), made.Text.Tokenizers[1].Encode("a"));
        Assert.Equal(made.Text.Tokenizers.Select(static one => one.Encode("blue")), read.Text.Tokenizers.Select(static one => one.Encode("blue")));

        // An index that does not say is upstream's, which forces zeros.
        File.WriteAllText(_folder.In("model_index.json"), "{\"_class_name\": \"StableDiffusionXLPipeline\"}");
        Assert.Equal(new PipelineIndex(true, true), PipelineFolder.Read(_folder.Path));
        File.WriteAllText(_folder.In("model_index.json"), "{\"_class_name\": \"StableDiffusionPipeline\", \"force_zeros_for_empty_prompt\": true}");
        Assert.Equal(new PipelineIndex(false, false), PipelineFolder.Read(_folder.Path));
    }

    /// <summary>Each file that a model needs, and all of them together in the order of their names.</summary>
    [Fact]
    public void Read_WithoutAFile_NamesIt()
    {
        using (var pipeline = TinyPipeline.CreateXL())
        {
            pipeline.Save(_folder.Path);
        }

        string[] needed =
        [
            "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder_2/config.json", "tokenizer/merges.txt", "tokenizer/vocab.json",
            "tokenizer_2/merges.txt", "tokenizer_2/vocab.json", "unet/config.json", "vae/config.json",
        ];
        foreach (var file in needed)
        {
            File.Move(_folder.In(file), _folder.In("aside"));
            var error = Assert.Throws<FileNotFoundException>(() => PipelineFolder.Read(_folder.Path));
            Assert.Contains($"is incomplete; missing: {file}. Download", error.Message);
            Assert.Equal(_folder.In(file), error.FileName);
            File.Move(_folder.In("aside"), _folder.In(file));
        }

        Array.ForEach(needed, file => File.Delete(_folder.In(file)));
        Assert.Contains(string.Join(", ", needed), Assert.Throws<FileNotFoundException>(() => PipelineFolder.Read(_folder.Path)).Message);
    }

    [Theory]
    [InlineData("{}", "describes nothing; expected StableDiffusionPipeline or StableDiffusionXLPipeline")]
    [InlineData("{\"_class_name\": 3}", "describes nothing")]
    [InlineData("{\"_class_name\": \"FluxPipeline\"}", "describes FluxPipeline")]
    public void Read_OfAnotherModel_SaysWhichIsExpected(string json, string expected)
    {
        File.WriteAllText(_folder.In("model_index.json"), json);
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => PipelineFolder.Read(_folder.Path)).Message);
        File.WriteAllText(_folder.In("model.safetensors"), "");
        Assert.Contains(
            "is a file; expected a model's folder",
            Assert.Throws<InvalidDataException>(() => PipelineFolder.Read(_folder.In("model.safetensors"))).Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Outline_OfAFolder_TellsTheModelThatLoads(bool isXL)
    {
        using var pipeline = isXL ? TinyPipeline.CreateXL() : TinyPipeline.Create();
        pipeline.Save(_folder.Path);

        var outline = PipelineOutline.Read(_folder.Path);

        Assert.Equal((_folder.Path, isXL, 2, 16), (outline.Source, outline.IsXL, outline.DownsamplingFactor, outline.NativeSize));
        Assert.Equal((pipeline.Vae.DownsamplingFactor, pipeline.NativeSize), (outline.DownsamplingFactor, outline.NativeSize));
        Assert.Equal(
            (pipeline.UNet.Config.CrossAttentionDim[0], pipeline.Vae.Config.LatentChannels),
            (outline.UNet.CrossAttentionDim[0], outline.Vae.LatentChannels));
        Assert.Equal(
            pipeline.Text.Encoders.Select(static encoder => encoder.Config.HiddenSize),
            outline.TextEncoders.Select(static config => config.HiddenSize));
        var bytes = new[] { (nn.Module)pipeline.UNet, pipeline.Vae }.Concat(pipeline.Text.Encoders).Sum(static network => network.parameters().Sum(static weight => weight.numel() * 4));
        Assert.Equal([new StoredWeights(ScalarType.Float32, bytes, "F32")], outline.Stored);
        Assert.Equal(
            512,
            (outline with { UNet = outline.UNet with { SampleSize = null }, Vae = outline.Vae with { BlockOutChannels = [1, 2, 3, 4] } }).NativeSize);
    }

    [Fact]
    public void Outline_OfSeveralTypes_HasTheLargestShareFirst()
    {
        using var pipeline = TinyPipeline.Create();
        pipeline.Save(_folder.Path);
        pipeline.Vae.Save(_folder.In("vae"), ScalarType.Float16);
        pipeline.TextEncoder.Save(_folder.In("text_encoder"), ScalarType.BFloat16);

        var stored = PipelineOutline.Read(_folder.Path).Stored;

        Assert.Equal(stored.OrderByDescending(static share => share.Bytes), stored);
        Assert.Equal(
            [("BF16", 2 * Numbers(pipeline.TextEncoder)), ("F16", 2 * Numbers(pipeline.Vae)), ("F32", 4 * Numbers(pipeline.UNet))],
            stored.Select(static share => (share.Name, share.Bytes)).OrderBy(static share => share.Name, StringComparer.Ordinal));

        static long Numbers(nn.Module network) => network.parameters().Sum(static weight => weight.numel());
    }

    [Fact]
    public void Outline_OfASingleFile_TellsTheModelThatLoads()
    {
        using var pipeline = OriginalFile.SaveXL(_folder.Path);
        var outline = PipelineOutline.Read(_folder.In("model.safetensors"), new SingleFileOptions { ConfigFolder = _folder.Path });
        Assert.Equal((_folder.In("model.safetensors"), true, 16), (outline.Source, outline.IsXL, outline.NativeSize));
        Assert.Equal([4, 8], outline.TextEncoders.Select(static config => config.HiddenSize));
        Assert.Equal("F32", Assert.Single(outline.Stored).Name);
    }

    /// <summary>Every network from its own file of the variant, in the type that is asked for.</summary>
    [Fact]
    public void FromFolder_OfAVariantAndAType_LoadsEveryNetworkSo()
    {
        using var made = TinyPipeline.CreateXL();
        made.Save(_folder.Path);
        var plain = made.HashWeights();
        foreach (var network in Networks(made))
        {
            using var noGradient = no_grad();
            network.parameters().First().add_(1);
        }

        made.Save(_folder.In("other"));
        foreach (var file in Directory.GetFiles(_folder.In("other"), "*.safetensors", SearchOption.AllDirectories))
        {
            File.Copy(file, Path.Combine(_folder.Path, Path.GetRelativePath(_folder.In("other"), file)).Replace(".safetensors", ".fp16.safetensors", StringComparison.Ordinal));
        }

        using (var first = StableDiffusionPipeline.Load(_folder.Path))
        {
            Assert.Equal(plain, first.HashWeights());
        }

        using (var variant = StableDiffusionPipeline.FromFolder(_folder.Path, variant: "fp16"))
        {
            Assert.Equal(made.HashWeights(), variant.HashWeights());
        }

        using var brain = StableDiffusionPipeline.Load(_folder.Path, ScalarType.BFloat16);
        Assert.All(Networks(brain), static network => Assert.All(network.parameters(), static weight => Assert.Equal(ScalarType.BFloat16, weight.dtype)));
    }

    /// <summary>A weight of any network that the type does not hold keeps all of them from being written.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Save_OfAWeightTooLargeForTheType_WritesNothing(int network)
    {
        using var pipeline = TinyPipeline.CreateXL();
        using (no_grad())
        {
            Networks(pipeline)[network].parameters().Last().fill_(1e6f);
        }

        Assert.Throws<ArgumentException>(() => pipeline.Save(_folder.In("half"), ScalarType.Float16));
        Assert.False(Path.Exists(_folder.In("half")));
        pipeline.Save(_folder.In("whole"));
        Assert.True(File.Exists(_folder.In("whole", "model_index.json")));
    }

    private static nn.Module[] Networks(StableDiffusionPipeline pipeline) => [pipeline.UNet, pipeline.Vae, .. pipeline.Text.Encoders];

    /// <summary>W + Σ w·α/r·B·A, in a folder of its own; the base stays.</summary>
    [Theory]
    [InlineData(ScalarType.Float32, 1e-6)]
    [InlineData(ScalarType.BFloat16, 1e-2)]
    public void MergedModel_OfTwoLoras_IsTheirSum(ScalarType type, double tolerance)
    {
        const string layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
        using var pipeline = TinyPipeline.Create();
        pipeline.Save(_folder.In("base"));
        var before = File.ReadAllBytes(_folder.In("base", "unet", "diffusion_pytorch_model.safetensors"));
        var expected = pipeline.UNet.get_parameter(layer + ".weight")!.detach().to(ScalarType.Float64);
        foreach (var (i, weight) in new[] { 0.5, -2 }.Index())
        {
            using var lora = StableDiffusionLora.Create(pipeline, "made", new LoraConfig { Rank = 2, Alpha = 4, TargetModules = ["to_q"] }, null, seed: i);
            using var noGradient = no_grad();
            lora.UNetParameters.ToList().ForEach(parameter => parameter.normal_(0, 0.1, new Generator((ulong)i)));
            lora.SaveKohya(_folder.In($"{i}.safetensors"));
            var tensors = SafetensorsFile.LoadAll(_folder.In($"{i}.safetensors")).Where(pair => pair.Key.Contains(layer.Replace('.', '_'), StringComparison.Ordinal)).ToDictionary(static pair => pair.Key[pair.Key.IndexOf('.')..], static pair => pair.Value.to(ScalarType.Float64));
            expected = expected + weight * 4 / 2.0 * matmul(tensors[".lora_up.weight"], tensors[".lora_down.weight"]);
        }

        (string, double)[] both = [(_folder.In("0.safetensors"), 0.5), (_folder.In("1.safetensors"), -2)];
        MergedModel.Write(_folder.In("base"), both, _folder.In("first"), type);
        var alive = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        MergedModel.Write(_folder.In("base"), both, _folder.In("merged"), type);
        Assert.Equal(alive, DisposeScopeManager.Statistics.ThreadTotalLiveCount);

        using var file = SafetensorsFile.Open(_folder.In("merged", "unet", "diffusion_pytorch_model.safetensors"));
        Assert.All(file.Tensors.Values, tensor => Assert.Equal(type, tensor.DType));
        Assert.InRange(Fixtures.RelativeDifference(expected, file.Load(layer + ".weight", ScalarType.Float32)), 0, tolerance);
        Assert.Equal(before, File.ReadAllBytes(_folder.In("base", "unet", "diffusion_pytorch_model.safetensors")));
    }

    [Fact]
    public void MergedModel_OfNothingOrIntoItsBase_IsRefused()
    {
        using (var pipeline = TinyPipeline.Create())
        {
            pipeline.Save(_folder.In("base"));
            using var lora = StableDiffusionLora.Create(pipeline, "made", new LoraConfig { Rank = 2, TargetModules = ["to_q"] }, null, seed: 1);
            lora.SaveKohya(_folder.In("lora.safetensors"));
        }

        (string, double)[] one = [(_folder.In("lora.safetensors"), 1)];
        Assert.Contains("Got no LoRA", Assert.Throws<ArgumentException>(() => MergedModel.Write(_folder.In("base"), [], _folder.In("merged"))).Message);
        Assert.Contains(
            "the base model's own",
            Assert.Throws<ArgumentException>(() => MergedModel.Write(_folder.In("base") + "/", one, _folder.In("x", "..", "base"))).Message);
        Assert.Contains(
            "the base model's own",
            Assert.Throws<ArgumentException>(() => MergedModel.Write(_folder.In("base"), one, _folder.In("base") + "/")).Message);

        var tensors = SafetensorsFile.LoadAll(_folder.In("lora.safetensors"));
        tensors["bundle_emb.token.clip_l"] = ones(2, 6);
        SafetensorsFile.Write(_folder.In("strange.safetensors"), tensors);
        Assert.Throws<InvalidDataException>(() => MergedModel.Write(
            _folder.In("base"),
            [(_folder.In("strange.safetensors"), 1)],
            _folder.In("merged"),
            strict: true));
        Assert.False(Path.Exists(_folder.In("merged")));
        MergedModel.Write(_folder.In("base"), [(_folder.In("strange.safetensors"), 1)], _folder.In("merged"));
        Assert.True(File.Exists(_folder.In("merged", "model_index.json")));
    }

    /// <summary>The hash over name, type, shape and values of each weight in the order of the names, as its documentation says it.</summary>
    [Fact]
    public void HashWeights_OfANetwork_IsTheHashOfItsSortedWeights()
    {
        using var pipeline = TinyPipeline.Create();
        using var bytes = new MemoryStream();
        foreach (var (name, weight) in pipeline.TextEncoder.state_dict().OrderBy(static pair => pair.Key, StringComparer.Ordinal))
        {
            bytes.Write(System.Text.Encoding.UTF8.GetBytes($"{name}\0{weight.dtype}\0{string.Join(',', weight.shape)}\0"));
            bytes.Write(System.Runtime.InteropServices.MemoryMarshal.AsBytes(weight.detach().data<float>().ToArray().AsSpan()));
        }

        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes.ToArray())), pipeline.HashWeights()["text_encoder"]);
    }
}
