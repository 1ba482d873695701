using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters.Tools;

/// <summary>What an inspection tells of a file, number by number.</summary>
public sealed class LoraInspectionTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly Generator _generator = new(23);

    public void Dispose()
    {
        _generator.Dispose();
        _folder.Dispose();
        _scope.Dispose();
    }

    /// <summary>Kohya's names of the parts of one layer of 6 inputs and 8 outputs, [kernel], and their shapes.</summary>
    public static TheoryData<string, string> Methods => new()
    {
        { "lora", "lora_down.weight:2,6 lora_up.weight:8,2" },
        { "lora of a rank beyond its sizes", "lora_down.weight:9,6 lora_up.weight:8,9" },
        { "convolution", "lora_down.weight:2,6,3,3 lora_up.weight:8,2,1,1" },
        { "core", "lora_down.weight:2,6,1,1 lora_mid.weight:2,2,3,3 lora_up.weight:8,2,1,1" },
        { "loha", "hada_w1_a:8,2 hada_w1_b:2,6 hada_w2_a:8,2 hada_w2_b:2,6" },
        { "loha with cores", "hada_t1:2,2,3,3 hada_w1_a:2,8 hada_w1_b:2,6 hada_t2:2,2,3,3 hada_w2_a:2,8 hada_w2_b:2,6" },
        { "lokr", "lokr_w1:2,3 lokr_w2:4,2" },
        { "lokr, thin", "lokr_w1:2,3 lokr_w2_a:4,2 lokr_w2_b:2,2" },
        { "lokr, both thin", "lokr_w1_a:2,2 lokr_w1_b:2,3 lokr_w2_a:4,2 lokr_w2_b:2,2" },
        { "lokr with a core", "lokr_w1:2,3 lokr_t2:2,2,3,3 lokr_w2_a:2,4 lokr_w2_b:2,2" },
    };

    [Theory]
    [MemberData(nameof(Methods))]
    public void Norm_OfEachMethod_IsThatOfItsSum(string method, string parts)
    {
        var tensors = parts.Split(' ').ToDictionary(static part => part.Split(':')[0], part => Draw([.. part.Split(':')[1].Split(',').Select(long.Parse)]));
        var path = Save([
            .. tensors.Select(static pair => ($"lora_unet_mid_block_resnets_0_conv1.{pair.Key}", pair.Value)),
            ("lora_unet_mid_block_resnets_0_conv1.alpha", tensor(3f))
        ]);

        var layer = Assert.Single(LoraInspection.Of(path).Layers);

        var kernel = tensors.Values.Where(static tensor => tensor.dim() == 4).Select(static tensor => tensor.shape[2..]).MaxBy(static sizes => sizes[0]) ?? [];
        var rank = method == "lokr" ? 3 : method.Contains("beyond", StringComparison.Ordinal) ? 9 : 2;
        var named = tensors.ToDictionary(
            static pair => pair.Key switch { "lora_down.weight" => "lora_A.weight", "lora_up.weight" => "lora_B.weight", _ => pair.Key },
            static pair => Nd.Of(pair.Value));
        var delta = PlainAdapter.Delta(named, new Nd([8, 6, .. kernel]), method == "lokr" ? 1 : 3.0 / rank);
        Assert.Equal(Math.Sqrt(delta.Indices().Sum(i => delta[i] * delta[i])), layer.Norm, 1e-5 * layer.Norm);
        Assert.Equal((rank, 3.0, tensors.Values.Sum(static tensor => tensor.numel())), (layer.Rank, layer.Alpha, layer.Parameters));
        Assert.Equal(
            method.StartsWith("loha", StringComparison.Ordinal)
                ? AdapterMethod.Loha
                : method.StartsWith("lokr", StringComparison.Ordinal) ? AdapterMethod.Lokr : AdapterMethod.Lora,
            layer.Method);
    }

    /// <summary>What is computed in blocks of rows is the whole: this one has two blocks and a short third.</summary>
    [Fact]
    public void Norm_OfAProductOfManyRows_CountsThemAll()
    {
        const int rows = (2 * 1024) + 5; // blocks of 2^20 numbers, 1,024 of which a row has
        var path = Save(
            ("lora_unet_conv_in.hada_w1_a", arange(rows, ScalarType.Float32).reshape(-1, 1)),
            ("lora_unet_conv_in.hada_w1_b", ones(1, 1024)),
            ("lora_unet_conv_in.hada_w2_a", ones(rows, 1)),
            ("lora_unet_conv_in.hada_w2_b", ones(1, 1024)));

        // Σ i² for i below n is (n − 1)·n·(2n − 1)/6, in each of 1,024 columns.
        Assert.Equal(Math.Sqrt(1024.0 * (rows - 1) * rows * ((2 * rows) - 1) / 6), Assert.Single(LoraInspection.Of(path).Layers).Norm, 1e-3);
    }

    /// <summary>Products that cannot be formed or are larger than any layer have no norm, whatever of them does not fit.</summary>
    [Theory]
    [InlineData("lora_down.weight:2,6 lora_up.weight:8,3")]
    [InlineData("lora_down.weight:2,6 lora_up.weight:8")]
    [InlineData("lora_down.weight:2 lora_up.weight:8,2")]
    [InlineData("lora_down.weight:2,6,1 lora_up.weight:8,2")]
    [InlineData("lora_down.weight:2,0 lora_up.weight:8,2")]
    [InlineData("hada_w1_a:8,2 hada_w1_b:2,6 hada_w2_a:8,2 hada_w2_b:2,5")]
    [InlineData("hada_w1_a:8,2 hada_w1_b:2,6 hada_w2_a:7,2 hada_w2_b:2,6")]
    [InlineData("hada_w1_a:8,2 hada_w1_b:3,6 hada_w2_a:8,2 hada_w2_b:2,6")]
    [InlineData("hada_w1_a:8,2,1 hada_w1_b:2,6 hada_w2_a:8,2 hada_w2_b:2,6")]
    [InlineData("hada_w1_a:8,2 hada_w1_b:2,6,1 hada_w2_a:8,2 hada_w2_b:2,6")]
    [InlineData("hada_w1_a:0,2 hada_w1_b:2,6 hada_w2_a:0,2 hada_w2_b:2,6")]
    [InlineData("hada_w1_a:8,2 hada_w1_b:2,0 hada_w2_a:8,2 hada_w2_b:2,0")]
    [InlineData("hada_w1_a:20000,1 hada_w1_b:1,20000 hada_w2_a:20000,1 hada_w2_b:1,20000")]
    [InlineData("hada_t1:2,2,3 hada_w1_a:2,8 hada_w1_b:2,6 hada_t2:2,2,3 hada_w2_a:2,8 hada_w2_b:2,6")]
    [InlineData("hada_t1:3,2,3,3 hada_w1_a:2,8 hada_w1_b:2,6 hada_t2:3,2,3,3 hada_w2_a:2,8 hada_w2_b:2,6")]
    [InlineData("hada_t1:2,3,3,3 hada_w1_a:2,8 hada_w1_b:2,6 hada_t2:2,3,3,3 hada_w2_a:2,8 hada_w2_b:2,6")]
    [InlineData("hada_t1:2,2,3,3 hada_w1_a:2,8,1 hada_w1_b:2,6 hada_t2:2,2,3,3 hada_w2_a:2,8,1 hada_w2_b:2,6")]
    [InlineData("hada_t1:2,2,3,3 hada_w1_a:2,8 hada_w1_b:2,6,1 hada_t2:2,2,3,3 hada_w2_a:2,8 hada_w2_b:2,6,1")]
    [InlineData("hada_t1:2,2,0,3 hada_w1_a:2,8 hada_w1_b:2,6 hada_t2:2,2,0,3 hada_w2_a:2,8 hada_w2_b:2,6")]
    [InlineData("lora_down.weight:2,6,1,1 lora_mid.weight:3,3,3,3 lora_up.weight:8,2,1,1")]
    [InlineData("lora_down.weight:2,6,1,1 lora_mid.weight:2,2,3,3 lora_up.weight:8")]
    [InlineData("lokr_w1_a:2,2 lokr_w1_b:3,3 lokr_w2:4,2")]
    public void Norm_OfFactorsThatDoNotFit_IsNoneAndTheLayerDamaged(string parts)
    {
        var path = Save(
            [.. parts.Split(' ').Select(part => ($"lora_unet_conv_in.{part.Split(':')[0]}", zeros([.. part.Split(':')[1].Split(',').Select(long.Parse)])))]);

        var inspection = LoraInspection.Of(path);

        Assert.True(double.IsNaN(Assert.Single(inspection.Layers).Norm));
        Assert.Equal("unet: conv_in (its factors are not all there, or do not fit each other)", Assert.Single(inspection.Damaged));
        Assert.True(inspection.IsStrange);
    }

    [Fact]
    public void Inspection_OfAFile_TellsItsLayersAndBlocks()
    {
        string[] modules =
        [
            "down_blocks.1.attentions.0.proj_in",
            "down_blocks.1.resnets.0.conv1",
            "down_blocks.0.resnets.0.conv1",
            "mid_block.attentions.0.proj_in",
            "up_blocks.12.resnets.0.conv1",
            "conv_in",
            "time_embedding.linear_1",
        ];
        var tensors = modules
            .SelectMany((module, i) => Layer("lora_unet_", module, i + 1, alpha: 2))
            .Concat(Layer("lora_te_", "text_model.encoder.layers.11.mlp.fc1", 1, alpha: 1)).ToList();
        tensors.Add(("lora_te_text_model_encoder_layers_11_mlp_fc1.dora_scale", ones(4, 1)));
        var path = Save([.. tensors]);

        var inspection = LoraInspection.Of(path);

        Assert.Equal((path, LoraFileKind.Kohya, new FileInfo(path).Length), (inspection.Path, inspection.Kind, inspection.Bytes));
        Assert.Equal(["text_encoder", .. modules.Select(static _ => "unet")], inspection.Layers.Select(static layer => layer.Network));
        Assert.Equal(
            ["text_model.encoder.layers.11.mlp.fc1", .. modules.Order(StringComparer.Ordinal)],
            inspection.Layers.Select(static layer => layer.Module));
        Assert.Equal([true, .. modules.Select(static _ => false)], inspection.Layers.Select(static layer => layer.IsDora));
        Assert.Equal(
            [
                "text_encoder/text_model.encoder.layers.11: 1 of [1] [1], 11",
                "unet/conv_in: 1 of [6] [2], 42",
                "unet/down_blocks.0: 1 of [3] [2], 21",
                "unet/down_blocks.1: 2 of [1, 2] [2], 21",
                "unet/mid_block: 1 of [4] [2], 28",
                "unet/time_embedding: 1 of [7] [2], 49",
                "unet/up_blocks.12: 1 of [5] [2], 35",
            ],
            inspection.Blocks.Select(static block =>
                $"{block.Network}/{block.Block}: {block.Layers} of [{string.Join(", ", block.Ranks)}] "
                    + $"[{string.Join(", ", block.Alphas)}], {block.Parameters}"));

        // 3 inputs and 4 outputs of ones: B·A is r everywhere, s is 2/r, so every norm is 2·√12.
        var two = Assert.Single(inspection.Blocks, static block => block.Block == "down_blocks.1");
        Assert.Equal(Math.Sqrt(2 * 4 * 12), two.Norm, 9);
        Assert.Equal(2 * Math.Sqrt(12), inspection.Layers[^1].Norm, 9);
        Assert.Equal(
            tensors.Where(static pair => !pair.Item1.EndsWith("alpha", StringComparison.Ordinal)).Sum(static pair => pair.Item2.numel()),
            inspection.Parameters);
        Assert.Equal(["Float32"], inspection.DTypes);
        Assert.Empty(inspection.Unknown
            .Concat(inspection.Unsupported)
            .Concat(inspection.Assumed)
            .Concat(inspection.Damaged)
            .Concat(inspection.Others)
            .Concat(inspection.NotFinite));
        Assert.False(inspection.IsStrange);
        Assert.Empty(inspection.Configs);
        Assert.Equal(KohyaHashes.OfLora(path), (inspection.ModelHash!, inspection.LegacyHash!));
    }

    [Theory]
    [InlineData("model.layers.3.q", "model.layers.3")]
    [InlineData("h.3.q", "h")]
    [InlineData("decoder_layers.12.q", "decoder_layers.12")]
    public void Block_OfAnotherModel_IsItsNumberedLayerOrFirstPart(string module, string block)
    {
        PeftFolder.Write(
            _folder.In("a"),
            new LoraState(
                new Dictionary<string, Tensor> { [$"{module}.lora_A.weight"] = ones(1, 3), [$"{module}.lora_B.weight"] = ones(4, 1) },
                config: new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["q"] }.ToPeftJson()));

        Assert.Equal(block, Assert.Single(LoraInspection.Of(_folder.In("a")).Layers).Block);
    }

    /// <summary>A folder is as large as all its files, has its settings, and no hashes; what is no layer is among the others.</summary>
    [Fact]
    public void Inspection_OfAPeftFolder_TellsItsSettings()
    {
        var config = new LoraConfig { Rank = 1, Alpha = 2, UseRsLora = true, TargetModules = ["proj_in"], UseLoraBias = true };
        Dictionary<string, Tensor> tensors = new()
        {
            ["down_blocks.0.proj_in.lora_A.weight"] = ones(1, 3),
            ["down_blocks.0.proj_in.lora_B.weight"] = ones(4, 1),
            ["down_blocks.0.proj_in.lora_B.bias"] = ones(4),
            ["down_blocks.0.proj_in.base_layer.bias"] = ones(4),
            ["down_blocks.0.lora_proj.lora_A.weight"] = ones(1, 3),
            ["down_blocks.0.lora_proj.lora_B.weight"] = ones(4, 1),
            ["head.weight"] = ones(2, 2),
            ["scale"] = ones(1),
        };
        PeftFolder.Write(_folder.In("a", "unet"), new LoraState(tensors, config: config.ToPeftJson()));

        var inspection = LoraInspection.Of(_folder.In("a"));

        Assert.Equal(Directory.GetFiles(_folder.In("a", "unet")).Sum(static file => new FileInfo(file).Length), inspection.Bytes);
        Assert.Equal(["unet: down_blocks.0.proj_in.base_layer.bias", "unet: head.weight", "unet: scale"], inspection.Others);
        Assert.Equal((2.0, 15L), (inspection.Layers[^1].Alpha, inspection.Layers[^1].Parameters));
        Assert.Contains("\"use_rslora\":true", inspection.Configs["unet"]);
        Assert.Equal((null, null, null, "PEFT"), (inspection.ModelHash, inspection.LegacyHash, inspection.HashIsAsNoted, inspection.Tool));
        Assert.Empty(inspection.Metadata);
    }

    /// <summary>A Kronecker product of two whole matrices has the scale of its settings, or 1.</summary>
    [Fact]
    public void Norm_OfAWholeKroneckerProductWithSettings_HasTheirScale()
    {
        PeftFolder.Write(_folder.In("a", "unet"), new LoraState(
            new Dictionary<string, Tensor> { ["conv_in.lokr_w1"] = ones(2, 2), ["conv_in.lokr_w2"] = ones(2, 2) },
            config: new LoraConfig { Method = AdapterMethod.Lokr, Rank = 4, Alpha = 2, TargetModules = ["conv_in"] }.ToPeftJson()));

        Assert.Equal(0.5 * 4, Assert.Single(LoraInspection.Of(_folder.In("a")).Layers).Norm, 9);
    }

    [Theory]
    [InlineData(null, null)]
    [InlineData("right", true)]
    [InlineData("RIGHT", true)]
    [InlineData("wrong", false)]
    [InlineData("0xright", null)]
    public void Hash_ThatAFileNotes_IsComparedUnlessItIsOfAnotherKind(string? noted, bool? expected)
    {
        var plain = Save([.. Layer("lora_unet_", "conv_in", 1, 1)]);
        var hash = KohyaHashes.OfLora(plain).Model;
        var value = noted switch { "right" => hash, "RIGHT" => hash.ToUpperInvariant(), "0xright" => "0x" + hash, _ => noted };
        SafetensorsFile.Write(
            _folder.In("b.safetensors"),
            SafetensorsFile.LoadAll(plain),
            value is null ? null : new Dictionary<string, string> { ["sshs_model_hash"] = value });

        Assert.Equal(expected, LoraInspection.Of(_folder.In("b.safetensors")).HashIsAsNoted);
    }

    [Fact]
    public void Inspection_OfADiffusersFolder_HasTheHashesOfItsFile()
    {
        SafetensorsFile.Write(
            _folder.In(LoraFile.DiffusersName),
            new Dictionary<string, Tensor> { ["unet.conv_in.lora_A.weight"] = ones(1, 3), ["unet.conv_in.lora_B.weight"] = ones(4, 1) });
        File.WriteAllText(_folder.In("more.txt"), "12345");

        var inspection = LoraInspection.Of(_folder.Path);

        Assert.Equal(KohyaHashes.OfLora(_folder.In(LoraFile.DiffusersName)), (inspection.ModelHash!, inspection.LegacyHash!));
        Assert.Equal(new FileInfo(_folder.In(LoraFile.DiffusersName)).Length + 5, inspection.Bytes);
    }

    /// <summary>Everything strange is listed with its reason and nothing is refused or told.</summary>
    [Fact]
    public void Inspection_OfAStrangeFile_ListsEverything()
    {
        var path = Save(
            [
                .. Layer("lora_unet_", "conv_in", 1, 1),
                ("lora_unet_conv_out.lora_down.weight", ones(1, 3)),
                ("lora_unet_a.diff", ones(1)),
                ("strange", ones(1)),
                ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", full(1, 3, float.NaN)),
                ("lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", ones(4, 1)),
                ("base_model.model.q.lora_A.weight", ones(1, 2, ScalarType.Float16)),
            ]);

        LoraInspection? inspection = null;
        var told = Heard.During(() => inspection = LoraInspection.Of(path));

        Assert.Equal("", told);
        Assert.Equal(["strange (the name ends like no part of a LoRA)"], inspection!.Unknown);
        Assert.Equal(
            [
                "lora_unet_a.diff (whole differences of weights and biases (diff, diff_b, set_weight) are not supported; "
                    + "merge them into the base with the tool that made them)"
            ],
            inspection.Unsupported);
        Assert.Equal(["unet: mid_block.attentions.0.proj_in"], inspection.NotFinite);
        Assert.Equal(
            [
                "base_model.model.q.lora_B.weight (missing)",
                "lora_unet_conv_out.lora_up.weight (missing)",
                "model: q (its factors are not all there, or do not fit each other)",
                "unet: conv_out (its factors are not all there, or do not fit each other)",
            ],
            inspection.Damaged);
        Assert.Equal(["Float16", "Float32"], inspection.DTypes);
        Assert.True(inspection.IsStrange);
    }

    [Theory]
    [InlineData(1, 0, 0, 0, 0)]
    [InlineData(0, 1, 0, 0, 0)]
    [InlineData(0, 0, 1, 0, 0)]
    [InlineData(0, 0, 0, 1, 0)]
    [InlineData(0, 0, 0, 0, 1)]
    [InlineData(0, 0, 0, 0, 0)]
    public void IsStrange_OfAnInspection_HoldsForEachKind(int unknown, int unsupported, int assumed, int damaged, int notFinite)
    {
        var inspection = LoraInspection.Of(Save([.. Layer("lora_unet_", "conv_in", 1, 1)])) with
        {
            Unknown = Names(unknown),
            Unsupported = Names(unsupported),
            Assumed = Names(assumed),
            Damaged = Names(damaged),
            NotFinite = Names(notFinite),
        };

        Assert.Equal(unknown + unsupported + assumed + damaged + notFinite > 0, inspection.IsStrange);

        static string[] Names(int count) => [.. Enumerable.Repeat("x", count)];
    }

    private static IEnumerable<(string, Tensor)> Layer(string prefix, string module, int rank, double alpha)
    {
        var name = prefix + module.Replace('.', '_');
        return [($"{name}.lora_down.weight", ones(rank, 3)), ($"{name}.lora_up.weight", ones(4, rank)), ($"{name}.alpha", tensor((float)alpha))];
    }

    private Tensor Draw(long[] shape) => randn(shape, generator: _generator);

    private string Save(params (string Name, Tensor Tensor)[] tensors)
    {
        var path = _folder.In($"{Guid.NewGuid():N}.safetensors");
        SafetensorsFile.Write(path, tensors.ToDictionary(static pair => pair.Name, static pair => pair.Tensor));
        return path;
    }
}
