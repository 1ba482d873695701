using System.Text.Json.Nodes;
using LoraNotebooks.Formats;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models;

public sealed class ModelFolderTests
{
    [Fact]
    public void Save_LoadedModel_GivesTheSameBytesAgain()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        unet.Save(folder.In("unet"));
        vae.Save(folder.In("vae"));
        using var unetAgain = UNet2DConditionModel.FromFolder(folder.In("unet"));
        using var vaeAgain = AutoencoderKL.FromFolder(folder.In("vae"));
        unetAgain.Save(folder.In("unet2"));
        vaeAgain.Save(folder.In("vae2"));
        Assert.Equal(TinyModels.UNet.ToJson().ToJsonString(), unetAgain.Config.ToJson().ToJsonString());
        foreach (var part in (string[])["unet", "vae"])
        {
            foreach (var file in (string[])["config.json", "diffusion_pytorch_model.safetensors"])
            {
                Assert.Equal(File.ReadAllBytes(folder.In(part, file)), File.ReadAllBytes(folder.In(part + "2", file)));
            }
        }
    }

    [Fact]
    public void Save_UnknownConfigKeys_AreKept()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using (var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1)))
        {
            unet.Save(folder.In("a"));
        }

        var config = JsonNode.Parse(File.ReadAllText(folder.In("a", "config.json")))!.AsObject();
        config["_diffusers_version"] = "0.1";
        config["of_tomorrow"] = new JsonObject { ["x"] = new JsonArray(1, null) };
        config["time_embedding_type"] = "positional";
        File.WriteAllText(folder.In("a", "config.json"), config.ToJsonString());
        using var loaded = UNet2DConditionModel.FromFolder(folder.In("a"));
        loaded.Save(folder.In("b"));
        Assert.True(JsonNode.DeepEquals(config, JsonNode.Parse(File.ReadAllText(folder.In("b", "config.json")))));
    }

    [Fact]
    public void FromFolder_HalfPrecisionFile_LoadsAsFloat32OrAsAsked()
    {
        using var folder = new TemporaryFolder();
        using var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        unet.Save(folder.Path, ScalarType.BFloat16);
        UNet2DConditionModel full, half;
        using (var scope = NewDisposeScope())
        {
            full = UNet2DConditionModel.FromFolder(folder.Path);
            half = UNet2DConditionModel.FromFolder(folder.Path, ScalarType.BFloat16);
        }

        // The models live on after the scope that they were loaded in.
        Assert.All(full.parameters(), p => Assert.Equal(ScalarType.Float32, p.dtype));
        Assert.All(half.parameters(), p => Assert.Equal(ScalarType.BFloat16, p.dtype));
        Assert.InRange(Fixtures.MaxDifference(unet.state_dict()["conv_in.weight"], full.state_dict()["conv_in.weight"]), 1e-7, 1e-3);
        Assert.False(full.training);
        full.Dispose();
        half.Dispose();
    }

    [Fact]
    public void FromFolder_WrongKeys_AreAllReportedAtOnce()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using (var unet = new UNet2DConditionModel(TinyModels.UNet, new Generator(1)))
        {
            unet.Save(folder.Path);
        }

        var file = folder.In(ModelFolder.DiffusersWeights);
        var tensors = SafetensorsFile.LoadAll(file);
        tensors.Remove("conv_in.weight");
        tensors.Remove("mid_block.resnets.0.norm1.bias");
        tensors["stray.weight"] = zeros(2, 3);
        tensors["conv_out.bias"] = zeros(5);
        SafetensorsFile.Write(file, tensors);
        var message = Assert.Throws<InvalidDataException>(() => UNet2DConditionModel.FromFolder(folder.Path)).Message;
        Assert.Contains("4 faults", message, StringComparison.Ordinal);
        Assert.Contains("missing: conv_in.weight [8, 4, 3, 3]", message, StringComparison.Ordinal);
        Assert.Contains("missing: mid_block.resnets.0.norm1.bias [12]", message, StringComparison.Ordinal);
        Assert.Contains("unexpected: stray.weight [2, 3]", message, StringComparison.Ordinal);
        Assert.Contains("wrong shape: conv_out.bias is [5] in the file, expected [4]", message, StringComparison.Ordinal);
    }

    [Fact]
    public void FromFolder_Weights_AreFrozen()
    {
        using var folder = new TemporaryFolder();
        using (var built = new UNet2DConditionModel(TinyModels.UNet, new Generator(1)))
        {
            built.Save(folder.Path);
        }

        using var loaded = UNet2DConditionModel.FromFolder(folder.Path);
        Assert.All(loaded.parameters(), static parameter => Assert.False(parameter.requires_grad));
    }

    [Fact]
    public void FromFolder_OnACpu_HasTheKernelsChannelsLastAsABuiltNetworkHas()
    {
        using var folder = new TemporaryFolder();
        using var built = new UNet2DConditionModel(TinyModels.UNet, new Generator(1));
        built.Save(folder.Path);
        using var loaded = UNet2DConditionModel.FromFolder(folder.Path);
        Assert.All((UNet2DConditionModel[])[built, loaded], static unet => Assert.All(
            unet.named_parameters().Where(static p => p.parameter.dim() == 4),
            static p => Assert.Equal(1, p.parameter.stride(1))));
    }

    [Fact]
    public void FromFolder_UnsupportedValues_AreAllReportedAtOnce()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("config.json"), """
            {"_class_name": "UNet2DModel", "addition_embed_type": "text_image", "class_embed_type": "timestep", "act_fn": "gelu",
             "block_out_channels": [8, 13], "norm_num_groups": 4, "down_block_types": ["AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
             "up_block_types": ["UpBlock2D", "UpBlock2D"], "attention_head_dim": [2, 2, 2], "cross_attention_dim": "wide",
             "num_attention_heads": 8, "dropout": 1.5, "resnet_out_scale_factor": 1.0}
            """);
        var message = Assert.Throws<InvalidDataException>(() => UNet2DConditionModel.FromFolder(folder.Path)).Message;
        string[] keys =
        [
            "_class_name", "addition_embed_type", "class_embed_type", "act_fn", "block_out_channels", "down_block_types", "attention_head_dim",
            "cross_attention_dim", "num_attention_heads", "dropout"
        ];
        Assert.All(keys, key => Assert.Contains($"\n- {key}: got ", message, StringComparison.Ordinal));
        Assert.DoesNotContain("resnet_out_scale_factor", message, StringComparison.Ordinal);
        Assert.Contains("11 unsupported or wrong values", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Constructor_FaultyConfig_ThrowsWithAllFaults()
    {
        var config = TinyModels.Vae with { LayersPerBlock = 0, ScalingFactor = -1, UpBlockTypes = ["UpDecoderBlock2D"] };
        var message = Assert.Throws<ArgumentException>(() => new AutoencoderKL(config)).Message;
        Assert.Equal(3, config.Validate().Count);
        Assert.All(config.Validate(), fault => Assert.Contains(fault, message, StringComparison.Ordinal));
    }

    [Fact]
    public void FromFolder_Shards_AreReadThroughTheirIndex()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        vae.Save(folder.Path);
        var file = folder.In(ModelFolder.DiffusersWeights);
        var tensors = SafetensorsFile.LoadAll(file);
        File.Delete(file);
        var map = new JsonObject();
        foreach (var shard in tensors.GroupBy(pair => pair.Key.StartsWith("encoder", StringComparison.Ordinal) ? "a.safetensors" : "b.safetensors"))
        {
            SafetensorsFile.Write(folder.In(shard.Key), shard.ToDictionary());
            foreach (var (name, _) in shard)
            {
                map[name] = shard.Key;
            }
        }

        File.WriteAllText(folder.In("diffusion_pytorch_model.safetensors.index.json"), new JsonObject { ["weight_map"] = map }.ToJsonString());
        using var loaded = AutoencoderKL.FromFolder(folder.Path);
        Assert.Equal(0, Fixtures.MaxDifference(vae.state_dict()["decoder.conv_in.weight"], loaded.state_dict()["decoder.conv_in.weight"]));

        map["encoder.conv_in.weight"] = "../a.safetensors";
        File.WriteAllText(folder.In("diffusion_pytorch_model.safetensors.index.json"), new JsonObject { ["weight_map"] = map.DeepClone() }.ToJsonString());
        Assert.Contains(
            "outside its folder",
            Assert.Throws<InvalidDataException>(() => AutoencoderKL.FromFolder(folder.Path)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void FromFolder_AttentionNamesOfSd1_AreUnderstood()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        vae.Save(folder.Path);
        var file = folder.In(ModelFolder.DiffusersWeights);
        var old = SafetensorsFile.LoadAll(file).ToDictionary(pair => pair.Key
            .Replace("to_q", "query", StringComparison.Ordinal).Replace("to_k", "key", StringComparison.Ordinal)
            .Replace("to_v", "value", StringComparison.Ordinal).Replace("to_out.0", "proj_attn", StringComparison.Ordinal), pair => pair.Value);
        Assert.Contains("encoder.mid_block.attentions.0.proj_attn.bias", old.Keys);
        SafetensorsFile.Write(file, old);
        using var loaded = AutoencoderKL.FromFolder(folder.Path);
        foreach (var (name, tensor) in vae.state_dict())
        {
            Assert.Equal(0, Fixtures.MaxDifference(tensor, loaded.state_dict()[name]));
        }
    }

    [Fact]
    public void FromFolder_OnlyPickledWeights_SaysThatTheyAreNotRead()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("config.json"), TinyModels.Vae.ToJson().ToJsonString());
        File.WriteAllText(folder.In("diffusion_pytorch_model.bin"), "");
        Assert.Contains("pickled weights", Assert.Throws<FileNotFoundException>(() => AutoencoderKL.FromFolder(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FromFolder_Variants_AreChosenByName()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        using var other = new AutoencoderKL(TinyModels.Vae, new Generator(2));
        vae.Save(folder.Path, ScalarType.Float16);
        File.Move(folder.In(ModelFolder.DiffusersWeights), folder.In("diffusion_pytorch_model.fp16.safetensors"));

        // The only weights there are: no need to name them.
        using (var loaded = AutoencoderKL.FromFolder(folder.Path))
        {
            Assert.InRange(Fixtures.MaxDifference(First(vae), First(loaded)), 0, 1e-3);
        }

        other.Save(folder.Path);
        using (var plain = AutoencoderKL.FromFolder(folder.Path))
        using (var half = AutoencoderKL.FromFolder(folder.Path, variant: "fp16"))
        {
            Assert.Equal(0, Fixtures.MaxDifference(First(other), First(plain)));
            Assert.InRange(Fixtures.MaxDifference(First(vae), First(half)), 0, 1e-3);
        }

        File.Move(folder.In(ModelFolder.DiffusersWeights), folder.In("diffusion_pytorch_model.non_ema.safetensors"));
        var several = Assert.Throws<FileNotFoundException>(() => AutoencoderKL.FromFolder(folder.Path)).Message;
        Assert.Contains("diffusion_pytorch_model.fp16.safetensors, diffusion_pytorch_model.non_ema.safetensors", several, StringComparison.Ordinal);
        Assert.Contains(
            "variant 'bf16'",
            Assert.Throws<FileNotFoundException>(() => AutoencoderKL.FromFolder(folder.Path, variant: "bf16")).Message,
            StringComparison.Ordinal);

        static Tensor First(AutoencoderKL model) => model.state_dict()["decoder.conv_in.weight"];
    }

    [Fact]
    public void FromFolder_ShardsOfAVariant_AreReadAndMissingOnesAllNamed()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var vae = new AutoencoderKL(TinyModels.Vae, new Generator(1));
        vae.Save(folder.Path);
        var tensors = SafetensorsFile.LoadAll(folder.In(ModelFolder.DiffusersWeights));
        File.Delete(folder.In(ModelFolder.DiffusersWeights));
        var shards = tensors
            .Chunk(tensors.Count / 2 + 1)
            .Select((part, i) => (Name: $"diffusion_pytorch_model.fp16-0000{i + 1}-of-00002.safetensors", Tensors: part.ToDictionary())).ToList();
        shards.ForEach(shard => SafetensorsFile.Write(folder.In(shard.Name), shard.Tensors));
        var map = new JsonObject(shards.SelectMany(shard => shard.Tensors.Keys.Select(key => KeyValuePair.Create(key, (JsonNode?)shard.Name))));
        File.WriteAllText(folder.In("diffusion_pytorch_model.safetensors.index.fp16.json"), new JsonObject { ["weight_map"] = map }.ToJsonString());
        using (var loaded = AutoencoderKL.FromFolder(folder.Path, variant: "fp16"))
        {
            Assert.All(vae.state_dict(), pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Value, loaded.state_dict()[pair.Key])));
        }

        shards.ForEach(shard => File.Delete(folder.In(shard.Name)));
        var message = Assert.Throws<FileNotFoundException>(() => AutoencoderKL.FromFolder(folder.Path)).Message;
        Assert.All(shards, shard => Assert.Contains(shard.Name, message, StringComparison.Ordinal));
    }

    [Fact]
    public void FromFolder_ModelThatOverflowsInFloat16_IsLoadedInFloat32()
    {
        using var folder = new TemporaryFolder();
        using (var vae = new AutoencoderKL(TinyModels.Vae with { ForceUpcast = true }, new Generator(1)))
        {
            vae.Save(folder.Path);
        }

        using var upcast = AutoencoderKL.FromFolder(folder.Path, ScalarType.Float16);
        using var brain = AutoencoderKL.FromFolder(folder.Path, ScalarType.BFloat16);
        Assert.Equal(ScalarType.Float32, upcast.parameters().First().dtype);
        Assert.Equal(ScalarType.BFloat16, brain.parameters().First().dtype);
    }

    [Fact]
    public void FromFolder_AgainAndAgain_LeavesNoTensorBehind()
    {
        using var folder = new TemporaryFolder();
        // A text encoder, as TorchSharp's own convolutions leave a tensor to the garbage collector.
        using (var text = new ClipTextModel(new ClipTextConfig
        {
            VocabSize = 20,
            HiddenSize = 4,
            IntermediateSize = 8,
            NumHiddenLayers = 1,
            NumAttentionHeads = 2,
            HasProjection = true,
            ProjectionDim = 3,
        }))
        {
            text.Initialize(new Generator(1));
            text.Save(folder.Path, ScalarType.BFloat16);
        }

        LoadAndDispose();
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 3; i++)
        {
            LoadAndDispose();
        }

        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);

        void LoadAndDispose()
        {
            using var loaded = ClipTextModel.FromFolder(folder.Path);
            Assert.DoesNotContain(loaded.parameters(), static parameter => parameter.is_meta);
        }
    }

    public static TheoryData<string> Cases => [.. Fixtures.Models];

    [Theory]
    [Trait("Category", "Parity")]
    [MemberData(nameof(Cases))]
    public void Save_ModelOfUpstream_KeepsItsConfigAndWeights(string name)
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var unet = UNet2DConditionModel.FromFolder(Fixtures.Case(name, "unet"));
        using var vae = AutoencoderKL.FromFolder(Fixtures.Case(name, "vae"));
        unet.Save(folder.In("unet"));
        vae.Save(folder.In("vae"));
        List<(string Part, string Weights)> parts =
        [
            ("unet", ModelFolder.DiffusersWeights),
            ("vae", ModelFolder.DiffusersWeights),
            ("text_encoder", ModelFolder.TransformersWeights)
        ];
        using var text = ClipTextModel.FromFolder(Fixtures.Case(name, "text_encoder"));
        text.Save(folder.In("text_encoder"));
        if (Fixtures.IsXL(name))
        {
            using var second = ClipTextModel.FromFolder(Fixtures.Case(name, "text_encoder_2"));
            second.Save(folder.In("text_encoder_2"));
            parts.Add(("text_encoder_2", ModelFolder.TransformersWeights));
        }

        foreach (var (part, weights) in parts)
        {
            var saved = SafetensorsFile.LoadAll(folder.In(part, weights));
            var upstream = Fixtures.Tensors(name, part, weights);
            Assert.Equal(upstream.Keys.Order(), saved.Keys.Order());
            Assert.All(upstream, pair => Assert.Equal(pair.Value.dtype, saved[pair.Key].dtype));
            Assert.All(upstream, pair => Assert.Equal(0, Fixtures.MaxDifference(pair.Value, saved[pair.Key])));
            var before = JsonNode.Parse(File.ReadAllText(Path.Combine(Fixtures.Case(name, part), "config.json")))!;
            var after = JsonNode.Parse(File.ReadAllText(folder.In(part, "config.json")))!;
            Assert.True(JsonNode.DeepEquals(before, after), after.ToJsonString());
        }
    }
}
