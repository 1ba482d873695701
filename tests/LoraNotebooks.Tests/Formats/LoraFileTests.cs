using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>LoRAs of every kind read from what lies on disk, with and without a model, and what is said where it is something else.</summary>
public sealed class LoraFileTests : IDisposable
{
    private static readonly LoraPart[] Model =
    [
        new("unet", "lora_unet", ["conv_in", "down_blocks.0.attentions.0.proj_in"]),
        new("text_encoder", "lora_te", ["text_model.encoder.layers.0.mlp.fc1"]),
    ];

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Read_OfAKohyaFile_GivesEachNetworkItsWeightsAndAlphas()
    {
        var path = Save(
            ("lora_unet_conv_in.lora_down.weight", full(2, 3, 1f)),
            ("lora_unet_conv_in.lora_up.weight", full(4, 2, 2f)),
            ("lora_unet_conv_in.alpha", tensor(1.5f)),
            ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", full(1, 3, 3f)),
            ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", full(4, 1, 4f)),
            ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", tensor(0.0)));

        foreach (var parts in new LoraPart[][] { Model, [] })
        {
            using var file = LoraFile.Read(path, parts);

            Assert.Equal(LoraFileKind.Kohya, file.Kind);
            Assert.Equal(["text_encoder", "unet"], file.States.Keys.Order(StringComparer.Ordinal));
            Assert.Equal([("conv_in.lora_A.weight", 1f), ("conv_in.lora_B.weight", 2f)], Values(file, "unet"));
            Assert.Equal(
                [("text_model.encoder.layers.0.mlp.fc1.lora_A.weight", 3f), ("text_model.encoder.layers.0.mlp.fc1.lora_B.weight", 4f)],
                Values(file, "text_encoder"));

            // An α of zero means the rank, as upstream takes it.
            Assert.Equal([("conv_in", 1.5)], file.States["unet"].Alphas.Select(static pair => (pair.Key, pair.Value)));
            Assert.Empty(file.States["text_encoder"].Alphas);
            Assert.Empty(file.Notes);
            Assert.Equal(["F32", "F64"], file.StoredTypes);
            Assert.Null(file.States["unet"].Config);
        }
    }

    [Fact]
    public void Read_OfADiffusersFile_GivesEachNetworkItsConfiguration()
    {
        var path = _folder.In(LoraFile.DiffusersName);
        SafetensorsFile.Write(
            path,
            new Dictionary<string, Tensor>
            {
                ["unet.conv_in.lora_A.weight"] = ones(2, 3),
                ["unet.conv_in.lora_B.weight"] = ones(4, 2),
                ["unet.conv_in.base_layer.bias"] = full(4, 7f),
                ["text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight"] = ones(2, 3),
                ["text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_B.weight"] = ones(4, 2),
                ["text_encoder.strange"] = ones(1),
            },
            new Dictionary<string, string> { ["lora_adapter_metadata"] = """{"unet.r": 2, "unet.lora_alpha": 3, "text_encoder_2.r": 9}""", ["format"] = "pt" });

        LoraFile? file = null;
        var told = Heard.During(() => file = LoraFile.Read(_folder.Path));

        Assert.Equal(LoraFileKind.Diffusers, file!.Kind);
        Assert.Equal("""{"r":2,"lora_alpha":3}""", file.States["unet"].Config!.ToJsonString());
        Assert.Equal(7f, file.States["unet"].Tensors["conv_in.base_layer.bias"][0].item<float>());
        Assert.Null(file.States["text_encoder"].Config);
        Assert.Equal(("the name ends like no part of a LoRA", "text_encoder.strange"), (Assert.Single(file.Notes).Reason, Assert.Single(file.Notes[0].Names)));
        Assert.Contains("text_encoder.strange", told);
        Assert.Equal("pt", file.Metadata["format"]);
        file.Dispose();
        Assert.All(file.States.Values.SelectMany(static state => state.Tensors.Values), static tensor => Assert.True(tensor.IsInvalid));
    }

    /// <summary>What a configuration tells of is only taken for networks that the model has.</summary>
    [Fact]
    public void Read_ForAModelWithoutThatNetwork_LeavesItsWeightsOut()
    {
        var path = _folder.In("a.safetensors");
        SafetensorsFile.Write(
            path,
            new Dictionary<string, Tensor>
            {
                ["unet.conv_in.lora_A.weight"] = ones(2, 3),
                ["unet.conv_in.lora_B.weight"] = ones(4, 2),
                ["text_encoder_2.a.bias"] = ones(4),
            },
            new Dictionary<string, string> { ["lora_adapter_metadata"] = """{"text_encoder_2.r": 9}""" });

        Heard.During(() =>
        {
            using var forModel = LoraFile.Read(path, Model);
            using var alone = LoraFile.Read(path);
            Assert.Equal(["unet"], forModel.States.Keys);
            Assert.Equal("text_encoder_2.a.bias", Assert.Single(Assert.Single(forModel.Notes).Names));
            Assert.Equal(["text_encoder_2", "unet"], alone.States.Keys.Order(StringComparer.Ordinal));
        });
    }

    [Theory]
    [InlineData("lora_unet_conv_in.alpha", new[] { 1f, 2f }, "damaged: lora_unet_conv_in.alpha (α must be one number)")]
    [InlineData("unet.conv_in.alpha", new[] { 1f }, "damaged: unet.conv_in.alpha (twice: the file names this module in two ways, expected one)")]
    [InlineData(
        "unet.conv_in.lora_A.weight",
        new[] { 1f },
        "damaged: unet.conv_in.lora_A.weight (twice: the file names this module in two ways, maybe of two adapters; expected one adapter in a file)")]
    [InlineData("lora_unet_conv_in.lokr_w1_a", new[] { 1f }, "missing: lora_unet_conv_in.lokr_w1_b")]
    public void Read_OfADamagedFile_SaysWhatIsWrong(string name, float[] values, string fault)
    {
        var tensors = new Dictionary<string, Tensor>
        {
            ["lora_unet_conv_in.lora_down.weight"] = ones(2, 3),
            ["lora_unet_conv_in.lora_up.weight"] = ones(4, 2),
            ["lora_unet_conv_in.alpha"] = tensor(1f),
            [name] = tensor(values),
        };
        tensors.TryAdd("unet.conv_in.lora_B.weight", ones(4, 2));
        if (!name.EndsWith("lora_A.weight", StringComparison.Ordinal))
        {
            tensors.Remove("unet.conv_in.lora_B.weight");
        }

        var message = Assert.Throws<InvalidDataException>(() => LoraFile.Read(Save([.. tensors.Select(static pair => (pair.Key, pair.Value))]), Model)).Message;

        Assert.Contains(fault, message);
    }

    /// <summary>Numbers of one element in any shape are an α.</summary>
    [Fact]
    public void Read_OfAnAlphaInAList_TakesIt()
    {
        using var file = LoraFile.Read(Save(
            ("lora_unet_conv_in.lora_down.weight", ones(2, 3)),
            ("lora_unet_conv_in.lora_up.weight", ones(4, 2)),
            ("lora_unet_conv_in.alpha", tensor(new[] { 3f }))));

        Assert.Equal(3, file.States["unet"].Alphas["conv_in"]);
    }

    [Fact]
    public void Read_OfAnAmbiguousName_LeavesItOut()
    {
        LoraPart[] twice = [new("unet", "lora_unet", ["a_b", "a.b", "c"])];
        var path = Save(
            ("lora_unet_a_b.lora_down.weight", ones(1, 1)),
            ("lora_unet_a_b.lora_up.weight", ones(1, 1)),
            ("lora_unet_c.lora_down.weight", ones(1, 1)),
            ("lora_unet_c.lora_up.weight", ones(1, 1)));

        Heard.During(() =>
        {
            using var file = LoraFile.Read(path, twice);
            Assert.Equal(["c"], file.States["unet"].Ranks.Keys);
            Assert.Equal(
                (LoraNoteKind.Unknown, "ambiguous: the name may mean several modules", 2),
                (Assert.Single(file.Notes).Kind, file.Notes[0].Reason, file.Notes[0].Names.Count));
        });
    }

    /// <summary>α is assumed of PEFT's bare weights only, and only where nothing in the file tells one.</summary>
    [Theory]
    [InlineData(false, false, 1)]
    [InlineData(true, false, 0)]
    [InlineData(false, true, 0)]
    public void Read_OfPeftsWeightsAlone_AssumesAlpha(bool alpha, bool config, int notes)
    {
        var tensors = new Dictionary<string, Tensor>
        {
            ["base_model.model.conv_in.lora_A.weight"] = ones(2, 3),
            ["base_model.model.conv_in.lora_B.weight"] = ones(4, 2),
        };
        if (alpha)
        {
            tensors["base_model.model.conv_in.alpha"] = tensor(1f);
        }

        SafetensorsFile.Write(
            _folder.In("a.safetensors"),
            tensors,
            config ? new Dictionary<string, string> { ["lora_adapter_metadata"] = """{"unet.r": 2}""" } : null);

        Heard.During(() =>
        {
            using var file = LoraFile.Read(_folder.In("a.safetensors"));
            Assert.Equal(notes, file.Notes.Count);
            Assert.Equal(LoraFileKind.Diffusers, file.Kind);
            Assert.All(
                file.Notes,
                static note => Assert.Equal(
                    (
                        LoraNoteKind.Assumed,
                        "α is not told, as adapter_config.json is not there, and taken as the rank, s = 1",
                        "base_model.model.conv_in.lora_A.weight"),
                    (note.Kind, note.Reason, Assert.Single(note.Names))));
        });
    }

    [Theory]
    [InlineData("model.diffusion_model.a", " This is a whole model: StableDiffusionPipeline.Load reads it.")]
    [InlineData("emb_params", " This is an embedding (textual inversion), which is not supported.")]
    [InlineData("clip_l", " This is an embedding (textual inversion), which is not supported.")]
    [InlineData("clip_g", " This is an embedding (textual inversion), which is not supported.")]
    [InlineData("<s0>", " This is an embedding (textual inversion), which is not supported.")]
    [InlineData("ip_adapter.a", " This is an IP-Adapter, which is not supported.")]
    [InlineData("image_proj.a", " This is an IP-Adapter, which is not supported.")]
    [InlineData("control_model.a", " This is a ControlNet, which is not supported.")]
    [InlineData("controlnet_a", " This is a ControlNet, which is not supported.")]
    [InlineData("something", "")]
    public void Read_OfWhatIsNoLora_SaysWhatItIs(string name, string otherwise)
    {
        var path = Save((name, ones(1)));

        Assert.Equal(
            $"'{path}' is not a LoRA: its names begin like '{name}', expected 'lora_unet_…', 'lora_te_…', 'unet.…' or 'text_encoder.…'.{otherwise}",
            Assert.Throws<InvalidDataException>(() => LoraFile.Read(path)).Message);
        Assert.Equal(
            $"'{path}' is not a LoRA for this model: its names begin like '{name}', expected 'lora_unet_…' or 'unet.…' or 'lora_te_…' or "
                + $"'text_encoder.…'.{otherwise}",
            Assert.Throws<InvalidDataException>(() => LoraFile.Read(path, Model)).Message);
    }

    [Fact]
    public void Read_OfWhatIsNoLora_NamesThreeTensors()
    {
        var message = Assert.Throws<InvalidDataException>(() =>
            LoraFile.Read(Save(("d", ones(1)), ("c", ones(1)), ("b", ones(1)), ("emb_params", ones(1))))).Message;

        Assert.Contains("its names begin like 'b', 'c', 'd', expected", message);
        Assert.EndsWith("'text_encoder.…'.", message);
    }

    [Fact]
    public void Read_OfALoraWithNothingForTheModel_SaysWhatItHasAndWhatWasExpected()
    {
        var path = Save(
            ("lora_unet_mid_block_resnets_0_conv1.lora_down.weight", ones(1, 4)),
            ("lora_unet_mid_block_resnets_0_conv1.lora_up.weight", ones(4, 1)));
        var known = Save(("lora_unet_down_blocks_0_attentions_9_proj_in.lora_down.weight", ones(1, 4)));

        Assert.Equal(
            $"'{path}' holds nothing for this model: left out 2 tensors (the model has no such module): "
                + "lora_unet_mid_block_resnets_0_conv1.lora_down.weight, lora_unet_mid_block_resnets_0_conv1.lora_up.weight. "
                + "Expected 'lora_unet_…' or 'unet.…' or 'lora_te_…' or 'text_encoder.…'.",
            Assert.Throws<InvalidDataException>(() => LoraFile.Read(path, Model)).Message);
        Assert.Contains(
            "holds nothing for this model; it is for Stable Diffusion 1.x or 2.x: left out 1 tensor",
            Assert.Throws<InvalidDataException>(() => LoraFile.Read(known, Model)).Message);
        Assert.StartsWith(
            "This LoRA is for Stable Diffusion 1.x or 2.x, the pipeline is Stable Diffusion XL (SDXL).",
            Assert.Throws<InvalidDataException>(() => LoraFile.Read(known, Model, model: LoraArchitecture.StableDiffusionXL)).Message);
    }

    /// <summary>A part that fits does not hide that the rest is for another model; one that fits wholly is not asked.</summary>
    [Fact]
    public void Read_OfALoraThatFitsInPart_SaysWhatItIsFor()
    {
        (string, Tensor)[] fits =
        [
            ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", ones(1, 4)),
            ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight", ones(4, 1))
        ];
        var path = Save([
            .. fits,
            ("lora_unet_mid_block_resnets_0_conv1.lora_down.weight", ones(1, 4)),
            ("lora_unet_mid_block_resnets_0_conv1.lora_up.weight", ones(4, 1))
        ]);

        Assert.StartsWith(
            "This LoRA is for Stable Diffusion 1.x or 2.x, the pipeline is Stable Diffusion XL (SDXL).",
            Assert.Throws<InvalidDataException>(() => LoraFile.Read(path, Model, model: LoraArchitecture.StableDiffusionXL)).Message);
        using var whole = LoraFile.Read(Save(fits), Model, model: LoraArchitecture.StableDiffusionXL);
        Assert.Equal(LoraArchitecture.StableDiffusion, whole.Origin.Architecture);
    }

    [Fact]
    public void Read_OfAnAlphaWithoutWeights_LeavesItOut() => Heard.During(() =>
    {
        using var file = LoraFile.Read(Save(
            ("lora_unet_conv_in.lora_down.weight", ones(1, 4)),
            ("lora_unet_conv_in.lora_up.weight", ones(4, 1)),
            ("lora_unet_conv_in.alpha", tensor(2f)),
            ("lora_unet_conv_out.alpha", tensor(3f)),
            ("lora_te_text_model_a.alpha", tensor(4f))));

        Assert.Equal([("conv_in", 2.0)], Assert.Single(file.States).Value.Alphas.Select(static pair => (pair.Key, pair.Value)));
        Assert.Equal(
            ("an α without weights beside it", "text_encoder: text_model.a, unet: conv_out"),
            (Assert.Single(file.Notes).Reason, string.Join(", ", file.Notes[0].Names.Order(StringComparer.Ordinal))));
    });

    [Fact]
    public void Read_OfAFolderWithoutALora_NamesEveryFileThatWouldBeOne()
    {
        Assert.Equal(
            $"'{_folder.Path}' holds no LoRA: expected unet/adapter_config.json or text_encoder/adapter_config.json, adapter_config.json or "
                + "pytorch_lora_weights.safetensors.",
            Assert.Throws<FileNotFoundException>(() => LoraFile.Read(_folder.Path, Model)).Message);
        Assert.Contains(
            "expected unet/adapter_config.json, adapter_config.json or pytorch_lora_weights",
            Assert.Throws<FileNotFoundException>(() => LoraFile.Read(_folder.Path)).Message);
        Assert.Throws<FileNotFoundException>(() => LoraFile.Read(_folder.In("none.safetensors")));
    }

    /// <summary>A folder of one adapter is for the network that its names tell, or for the model's first.</summary>
    [Theory]
    [InlineData("down_blocks.0.x", "unet", "unet")]
    [InlineData("up_blocks.0.x", "unet", "unet")]
    [InlineData("mid_block.x", "unet", "unet")]
    [InlineData("text_model.x", "text_encoder", "text_encoder")]
    [InlineData("layers.0.q", "model", "unet")]
    public void Read_OfAPeftFolder_IsForTheNetworkThatItsNamesTell(string module, string alone, string forModel)
    {
        WritePeft("", module);

        Heard.During(() =>
        {
            using var file = LoraFile.Read(_folder.Path);
            using var ofModel = LoraFile.Read(_folder.Path, Model);
            using var byWeights = LoraFile.Read(_folder.In(PeftFolder.WeightsName));
            Assert.Equal((LoraFileKind.Peft, alone), (file.Kind, Assert.Single(file.States.Keys)));
            Assert.Equal(alone, Assert.Single(byWeights.States.Keys));
            Assert.Equal(forModel, Assert.Single(ofModel.States.Keys));
            Assert.Equal([$"{module}.lora_A.weight", $"{module}.lora_B.weight"], file.States[alone].Tensors.Keys);
            Assert.Equal(["F32"], file.StoredTypes);
            Assert.Empty(file.Metadata);
            Assert.Equal("PEFT", file.Origin.Tool);
        });
    }

    /// <summary>Of several folders, those of the model's networks; without a model all.</summary>
    [Fact]
    public void Read_OfPeftFolders_TakesThoseOfTheModel()
    {
        WritePeft("unet", "conv_in");
        WritePeft("text_encoder", "encoder.layers.0.mlp.fc1");
        WritePeft("other", "layers.0.q");

        using var file = LoraFile.Read(_folder.Path);
        using var ofModel = LoraFile.Read(_folder.Path, Model);

        Assert.Equal(["other", "text_encoder", "unet"], file.States.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(["unet", "text_encoder"], ofModel.States.Keys);
        Assert.Equal(["text_model.encoder.layers.0.mlp.fc1"], ofModel.States["text_encoder"].Ranks.Keys);
        Assert.Equal(["encoder.layers.0.mlp.fc1"], file.States["text_encoder"].Ranks.Keys);
    }

    [Fact]
    public void IsLora_OfAFile_HoldsWhereMostOfItsNamesAreOnes()
    {
        Assert.True(IsLora("unet.a.lora_A.weight", "unet.a.lora_B.weight", "other"));
        Assert.False(IsLora("unet.a.lora_A.weight", "other"));

        bool IsLora(params string[] names)
        {
            using var file = SafetensorsFile.Open(Save([.. names.Select(static name => (name, ones(1)))]));
            return LoraFile.IsLora(file);
        }
    }

    private static IEnumerable<(string, float)> Values(LoraFile file, string network) =>
        file.States[network].Tensors.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => (pair.Key, pair.Value.max().item<float>()));

    private void WritePeft(string name, string module) => PeftFolder.Write(
        _folder.In(name),
        new LoraState(
            new Dictionary<string, Tensor> { [$"{module}.lora_A.weight"] = ones(2, 3), [$"{module}.lora_B.weight"] = ones(4, 2) },
            config: new() { ["peft_type"] = "LORA", ["r"] = 2 }));

    private string Save(params (string Name, Tensor Tensor)[] tensors)
    {
        var path = _folder.In($"{Guid.NewGuid():N}.safetensors");
        SafetensorsFile.Write(path, tensors.ToDictionary(static pair => pair.Name, static pair => pair.Tensor));
        return path;
    }
}
