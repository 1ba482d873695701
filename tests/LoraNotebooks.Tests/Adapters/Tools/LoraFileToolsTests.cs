using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Adapters.Tools;

/// <summary>Converting, resizing and merging LoRA files: the numbers by plain sums over the files' own tensors, and what is noted.</summary>
public sealed class LoraFileToolsTests : IDisposable
{
    private const string Line = "mid_block.attentions.0.proj_in";
    private const string Conv = "mid_block.resnets.0.conv1";
    private const string Token = "text_model.embeddings.token_embedding";

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();
    private readonly Generator _generator = new(13);

    public void Dispose()
    {
        _generator.Dispose();
        _folder.Dispose();
        _scope.Dispose();
    }

    /// <summary>Σ wᵢ·sᵢ·Bᵢ·Aᵢ of layers that some or all of the files have.</summary>
    [Fact]
    public void Merge_OfSeveralFiles_IsTheSumAtTheWeights()
    {
        var a = Kohya("a", Both(2, 3), new() { [Line] = 1, [Conv] = 6 });
        var b = Kohya("b", Pair(Line, 1), []);

        var fits = LoraMerging.Merge([(a, 0.5), (b, -2)], _folder.In("sum.safetensors"));

        var (first, second, sum) = (Products(a), Products(b), Products(_folder.In("sum.safetensors")));
        Assert.Equal(first.Keys.Order(StringComparer.Ordinal), sum.Keys.Order(StringComparer.Ordinal));
        AssertClose(first[Line].Map(i => (0.5 * first[Line][i]) - (2 * second[Line][i])), sum[Line]);
        AssertClose(first[Conv].Map(i => 0.5 * first[Conv][i]), sum[Conv]);
        Assert.Equal([("unet", Line, 3, 3), ("unet", Conv, 3, 3)], fits.Select(static fit => (fit.Network, fit.Module, fit.OldRank, fit.Rank)));
        Assert.All(fits, fit => Assert.Equal((Norm(sum[fit.Module]), 0), (fit.Norm, fit.RelativeError), new Close()));
        using var file = LoraFile.Read(_folder.In("sum.safetensors"));
        Assert.All(file.States["unet"].Alphas, static alpha => Assert.Equal(3, alpha.Value));
        Assert.Equal([3L, 3, 3, 3], file.States["unet"].Tensors[$"{Conv}.lora_A.weight"].shape);
        Assert.Equal([4L, 3, 1, 1], file.States["unet"].Tensors[$"{Conv}.lora_B.weight"].shape);
        Assert.Equal(["F32"], file.StoredTypes);
    }

    /// <summary>The best sum of a smaller rank loses what the norms say, layer by layer, convolutions at a rank of their own.</summary>
    [Fact]
    public void Merge_ToSmallerRanks_LosesWhatItSays()
    {
        var (a, b) = (Kohya("a", Both(2, 2), []), Kohya("b", Both(2, 2), []));

        var fits = LoraMerging.Merge(
            [(a, 1), (b, 1)],
            _folder.In("sum.safetensors"),
            new RankChoice { Rank = 1, ConvolutionRank = 3 },
            new LoraWriting { DType = ScalarType.Float64 });

        var (first, second, sum) = (Products(a), Products(b), Products(_folder.In("sum.safetensors")));
        Assert.Equal([(Line, 4, 1), (Conv, 4, 3)], fits.Select(static fit => (fit.Module, fit.OldRank, fit.Rank)));
        Assert.All(fits, fit =>
        {
            var whole = first[fit.Module].Map(i => first[fit.Module][i] + second[fit.Module][i]);
            var lost = Norm(whole.Map(i => whole[i] - sum[fit.Module][i]));
            Assert.Equal((Norm(whole), lost / Norm(whole)), (fit.Norm, fit.RelativeError), new Close());
            Assert.InRange(fit.RelativeError, 1e-3, 1);
        });
        using var file = LoraFile.Read(_folder.In("sum.safetensors"));
        Assert.Equal(["F64"], file.StoredTypes);
    }

    [Fact]
    public void Merge_OfNotes_KeepsWhatAllSayAlike()
    {
        Dictionary<string, string> notes = new()
        {
            ["ss_base_model_version"] = "sd_v1",
            ["ss_v2"] = "False",
            ["ss_sd_model_name"] = "x",
            ["ss_sd_model_hash"] = "1",
            ["ss_new_sd_model_hash"] = "2",
            ["ss_clip_skip"] = "None",
            ["modelspec.sai_model_spec"] = "1.0.0",
            ["modelspec.architecture"] = "stable-diffusion-v1/lora",
            ["modelspec.implementation"] = "y",
            ["modelspec.prediction_type"] = "epsilon",
            ["modelspec.resolution"] = "512x512",
            ["ss_output_name"] = "z",
            ["note"] = "n",
        };
        var other = notes.ToDictionary();
        other["ss_clip_skip"] = "2";
        other.Remove("ss_sd_model_name");
        var (a, b) = (Kohya("a", Pair(Line, 1), [], notes), Kohya("b", Pair(Line, 1), [], other));

        LoraMerging.Merge([(a, 1), (b, 1)], _folder.In("two of them.safetensors"));
        LoraMerging.Merge([(a, 1)], _folder.In("one.safetensors"));

        var own = new[]
        {
            "modelspec.hash_sha256",
            "modelspec.merged_from",
            "modelspec.title",
            "ss_network_alpha",
            "ss_network_dim",
            "ss_network_module",
            "sshs_legacy_hash",
            "sshs_model_hash",
        };
        var shared = notes.Keys.Except(["ss_output_name", "note"]).ToList();
        using var two = SafetensorsFile.Open(_folder.In("two of them.safetensors"));
        using var one = SafetensorsFile.Open(_folder.In("one.safetensors"));
        Assert.Equal(
            own.Concat(shared).Except(["ss_clip_skip", "ss_sd_model_name"]).Order(StringComparer.Ordinal),
            two.Metadata.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(own.Concat(shared).Order(StringComparer.Ordinal), one.Metadata.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(
            ("a.safetensors, b.safetensors", "two of them", "512x512"),
            (two.Metadata["modelspec.merged_from"], two.Metadata["modelspec.title"], two.Metadata["modelspec.resolution"]));
    }

    [Fact]
    public void Merge_OfFoldersWithASeparatorAtTheirEnd_NamesThem()
    {
        PeftFolder.Write(_folder.In("style", "unet"), State(Pair(Line, 1), [], Configuration([Line], 1)));

        LoraMerging.Merge(
            [(_folder.In("style") + Path.DirectorySeparatorChar, 1)],
            _folder.In("out") + Path.DirectorySeparatorChar,
            writing: new LoraWriting { Kind = LoraFileKind.Diffusers });

        using var file = SafetensorsFile.Open(_folder.In("out", LoraFile.DiffusersName));
        Assert.Equal(("style", "out"), (file.Metadata["modelspec.merged_from"], file.Metadata["modelspec.title"]));
    }

    [Fact]
    public void Merge_OfWhatHasNoSum_IsRefusedAndWritesNothing()
    {
        var good = Kohya("good", Both(2, 2), []);
        var wide = Kohya("wide", new() { [$"{Line}.lora_A.weight"] = ones(1, 5), [$"{Line}.lora_B.weight"] = ones(4, 1) }, []);
        var tall = Kohya("tall", new() { [$"{Line}.lora_A.weight"] = ones(1, 3), [$"{Line}.lora_B.weight"] = ones(6, 1) }, []);
        var core = Kohya(
            "core",
            new()
            {
                [$"{Conv}.lora_A.weight"] = ones(2, 3, 1, 1),
                [$"{Conv}.lora_mid.weight"] = ones(2, 2, 3, 3),
                [$"{Conv}.lora_B.weight"] = ones(4, 2, 1, 1),
            },
            []);
        var misfit = Kohya(
            "misfit",
            new()
            {
                [$"{Line}.lora_A.weight"] = ones(2, 3),
                [$"{Line}.lora_B.weight"] = ones(4, 5),
                [$"{Conv}.lora_A.weight"] = ones(2, 3),
                [$"{Conv}.lora_B.weight"] = ones(4),
            },
            []);

        Assert.Equal("Got no LoRA, expected at least one, each at a finite weight.", Refused<ArgumentException>());
        Assert.Equal(
            $"Got '{good}' at 1, '{wide}' at NaN, expected at least one, each at a finite weight.",
            Refused<ArgumentException>((good, 1), (wide, double.NaN)));
        Assert.Equal(
            $"'unet: {Line}' has other sizes in each LoRA (3 to 4 and 5 to 4); they are for different base models.",
            Refused<ArgumentException>((good, 1), (wide, 1)));
        Assert.Equal(
            $"'unet: {Line}' has other sizes in each LoRA (3 to 4 and 3 to 6); they are for different base models.",
            Refused<ArgumentException>((good, 1), (tall, 1)));
        Assert.Equal(
            $"'{core}' has weights that are not of the form B·A, so their sum has no such form either; merge it into the base model instead:\n"
                + $"- unet: {Conv}.lora_A.weight\n- unet: {Conv}.lora_B.weight\n- unet: {Conv}.lora_mid.weight",
            Refused<ArgumentException>((good, 1), (core, 1)));
        Assert.Equal(
            $"'{misfit}' has 2 damaged layers; download or save it again:\n- unet: {Line}: A is [2, 3] and B [4, 5], expected [r, in…] and [out, r…]\n"
                + $"- unet: {Conv}: A is [2, 3] and B [4], expected [r, in…] and [out, r…]",
            Refused<InvalidDataException>((misfit, 1)));
        Assert.EndsWith(
            ": A is [2, 0] and B [4, 2], expected [r, in…] and [out, r…]",
            Refused<InvalidDataException>((Kohya("empty", new() { [$"{Line}.lora_A.weight"] = ones(2, 0), [$"{Line}.lora_B.weight"] = ones(4, 2) }, []), 1)));
        Assert.Contains(
            "The choice of ranks has 1 unsupported or wrong value",
            Assert.Throws<ArgumentException>(() => LoraMerging.Merge([(good, 1)], _folder.In("out"), new RankChoice { Rank = 0 })).Message);

        string Refused<T>(params (string, double)[] sources)
            where T : Exception
        {
            var message = Assert.Throws<T>(() => LoraMerging.Merge(sources, _folder.In("out"))).Message;
            Assert.False(Path.Exists(_folder.In("out")));
            return message;
        }
    }

    [Fact]
    public void Merge_OfAnEmbedding_SumsItsFactors()
    {
        Dictionary<string, Tensor> tensors = new() { [$"{Token}.lora_embedding_A"] = Draw(2, 5), [$"{Token}.lora_embedding_B"] = Draw(3, 2) };
        PeftFolder.Write(_folder.In("a", "text_encoder"), State(tensors, [], Configuration([Token], 2)));

        LoraMerging.Merge([(_folder.In("a"), 2), (_folder.In("a"), 1)], _folder.In("out"), writing: new LoraWriting { Kind = LoraFileKind.Peft });

        using var merged = PeftFolder.Read(_folder.In("out", "text_encoder"));
        var (A, B) = (merged.Tensors[$"{Token}.lora_embedding_A"].to(ScalarType.Float64), merged.Tensors[$"{Token}.lora_embedding_B"].to(ScalarType.Float64));
        Assert.Equal(4, A.size(0));
        Assert.InRange(
            Fixtures.RelativeDifference(3 * tensors[$"{Token}.lora_embedding_B"].matmul(tensors[$"{Token}.lora_embedding_A"]), B.matmul(A)),
            0,
            1e-6);
    }

    /// <summary>The best approximation of a rank is what its own norms say it loses; s = α/r stays, and so do type, notes and what is no product.</summary>
    [Fact]
    public void Resize_OfAFile_LosesWhatItSaysAndKeepsTheRest()
    {
        var source = Kohya(
            "source",
            Both(3, 4),
            new() { [Line] = 1.5, [Conv] = 8 },
            new() { ["ss_training_comment"] = "mine", ["note"] = "kept", ["ss_network_dim"] = "old" },
            ScalarType.Float64);

        var fits = LoraResizing.Resize(source, _folder.In("small.safetensors"), new RankChoice { Rank = 1, ConvolutionRank = 2 });

        var (before, after) = (Products(source), Products(_folder.In("small.safetensors")));
        Assert.Equal([("unet", Line, 3, 1), ("unet", Conv, 4, 2)], fits.Select(static fit => (fit.Network, fit.Module, fit.OldRank, fit.Rank)));
        Assert.All(fits, fit =>
        {
            var (whole, lost) = (Norm(before[fit.Module]), Norm(before[fit.Module].Map(i => before[fit.Module][i] - after[fit.Module][i])));
            Assert.Equal((whole, lost / whole), (fit.Norm, fit.RelativeError), new Close());
        });
        using var file = LoraFile.Read(_folder.In("small.safetensors"));
        Assert.Equal((0.5, 4.0), (file.States["unet"].Alphas[Line], file.States["unet"].Alphas[Conv]));
        Assert.Equal(["F64"], file.StoredTypes);
        Assert.Equal(
            ("resized from rank 4 to at most 2; mine", "kept", "Dynamic"),
            (file.Metadata["ss_training_comment"], file.Metadata["note"], file.Metadata["ss_network_dim"]));
    }

    [Fact]
    public void Resize_ByARule_NotesIt()
    {
        LoraResizing.Resize(
            Kohya("a", Pair(Line, 2), []),
            _folder.In("small.safetensors"),
            new RankChoice { Rank = 2, Rule = RankRule.Cumulative, Target = 0.5 });

        using var file = SafetensorsFile.Open(_folder.In("small.safetensors"));
        Assert.Equal("resized from rank 2 to at most 1 by Cumulative 0.5; ", file.Metadata["ss_training_comment"]);
        LoraConversion.Convert(_folder.In("a.safetensors"), _folder.In("d.safetensors"), new LoraWriting { Kind = LoraFileKind.Diffusers });
        LoraResizing.Resize(_folder.In("d.safetensors"), _folder.In("plain.safetensors"), new RankChoice { Rank = 1 });
        using var plain = SafetensorsFile.Open(_folder.In("plain.safetensors"));
        Assert.False(plain.Metadata.ContainsKey("ss_training_comment"));
    }

    /// <summary>A folder keeps its other settings and what trains whole; ranks and alphas are told anew.</summary>
    [Fact]
    public void Resize_OfAPeftFolder_TellsItsRanksAnew()
    {
        var tensors = Both(3, 4).Append(new("conv_in.weight", ones(2, 2))).ToDictionary();
        var config = LoraConfig.FromPeftJson(Configuration([Line, Conv], 3)) with
        {
            UseRsLora = true,
            Alpha = 2,
            Dropout = 0.25,
            ModulesToSave = ["conv_in"],
            RankPattern = new Dictionary<string, int> { [Conv] = 4 },
        };
        PeftFolder.Write(_folder.In("peft", "unet"), State(tensors, [], config.ToPeftJson()));

        LoraResizing.Resize(
            _folder.In("peft"),
            _folder.In("small"),
            new RankChoice { Rank = 2, ConvolutionRank = 1 },
            new LoraWriting { Kind = LoraFileKind.Peft, DType = ScalarType.Float16 });

        using var small = PeftFolder.Read(_folder.In("small", "unet"));
        var told = LoraConfig.FromPeftJson(small.Config!);
        Assert.Equal((false, 0.25, 2, 1), (told.UseRsLora, told.Dropout, told.RankOf(Line), told.RankOf(Conv)));

        // α/√r of the source is α/r now.
        Assert.Equal((2 / Math.Sqrt(3), 1.0), (told.ScaleOf(Line), told.ScaleOf(Conv)), new Close());
        Assert.Equal(4f, small.Tensors["conv_in.weight"].to(ScalarType.Float32).sum().item<float>());
        Assert.All(
            SafetensorsFile.LoadAll(_folder.In("small", "unet", PeftFolder.WeightsName)).Values,
            static tensor => Assert.Equal(ScalarType.Float16, tensor.dtype));
        Assert.False(Path.Exists(_folder.In("small", "unet", "ss_training_comment")));
    }

    [Fact]
    public void Resize_OfAnotherFile_IsRefusedAndWritesNothing()
    {
        var loha = Kohya(
            "loha",
            new()
            {
                [$"{Line}.hada_w1_a"] = ones(4, 2),
                [$"{Line}.hada_w1_b"] = ones(2, 3),
                [$"{Line}.hada_w2_a"] = ones(4, 2),
                [$"{Line}.hada_w2_b"] = ones(2, 3),
                [$"{Conv}.lokr_w1"] = ones(2, 2),
                [$"{Conv}.lokr_w2"] = ones(2, 2),
            },
            []);
        PeftFolder.Write(_folder.In("whole"), State(new() { ["down_blocks.0.weight"] = ones(2, 2) }, [], Configuration(["a"], 1)));

        var message = Assert.Throws<ArgumentException>(() => LoraResizing.Resize(loha, _folder.In("out"), new RankChoice { Rank = 1 })).Message;

        Assert.Equal(
            $"'{loha}' has updates that are not of the form B·A, which is all that can be decomposed without the base model; "
            + "merge it into the base and extract from there:\n"
            + string.Join('\n', new[] { "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b" }.Select(static part => $"- unet: {Line}.{part}"))
            + $"\n- unet: {Conv}.lokr_w1\n- unet: {Conv}.lokr_w2",
            message);
        Assert.Equal(
            $"'{_folder.In("whole")}' has no low-rank updates; expected a LoRA.",
            Assert.Throws<InvalidDataException>(() => LoraResizing.Resize(_folder.In("whole"), _folder.In("out"), new RankChoice { Rank = 1 })).Message);
        Assert.Contains(
            "not finite",
            Assert.Throws<InvalidDataException>(() => LoraResizing.Resize(NotFinite("lora_up.weight"), _folder.In("out"), new RankChoice { Rank = 1 })).Message);
        Assert.Contains(
            "some numbers are not finite",
            Assert.Throws<InvalidDataException>(() => LoraResizing.Resize(NotFinite("alpha"), _folder.In("out"), new RankChoice { Rank = 1 })).Message);
        Assert.Contains(
            "Rank: got 0",
            Assert.Throws<ArgumentException>(() => LoraResizing.Resize(loha, _folder.In("out"), new RankChoice { Rank = 0 })).Message);
        Assert.False(Path.Exists(_folder.In("out")));
    }

    /// <summary>Weights, α and notes stay; what a writer works out itself is worked out anew.</summary>
    [Theory]
    [InlineData(LoraFileKind.Kohya)]
    [InlineData(LoraFileKind.Diffusers)]
    [InlineData(LoraFileKind.Peft)]
    public void Convert_OfAKohyaFile_KeepsWeightsScalesAndNotes(LoraFileKind kind)
    {
        var source = Kohya("source", Both(2, 3), new() { [Line] = 1.5 }, new() { ["note"] = "kept", ["ss_output_name"] = "mine" }, ScalarType.BFloat16);
        var destination = kind == LoraFileKind.Peft ? _folder.In("out") : _folder.In("out.safetensors");

        Assert.Empty(LoraConversion.Convert(source, destination, new LoraWriting { Kind = kind }));

        using var file = LoraFile.Read(destination);
        Assert.Equal((kind, "BF16"), (file.Kind, Assert.Single(file.StoredTypes)));
        Assert.All(Products(source), pair => AssertClose(pair.Value, Products(destination)[pair.Key]));
        if (kind != LoraFileKind.Peft)
        {
            Assert.Equal(("kept", "mine"), (file.Metadata["note"], file.Metadata["ss_output_name"]));
            Assert.Equal(kind == LoraFileKind.Kohya, file.Metadata.ContainsKey("sshs_model_hash"));
            Assert.Equal(kind == LoraFileKind.Diffusers, file.Metadata.ContainsKey("lora_adapter_metadata"));
            Assert.Equal(kind == LoraFileKind.Diffusers, file.Metadata.ContainsKey("format"));
            Assert.Equal(kind == LoraFileKind.Kohya, file.Metadata.ContainsKey("modelspec.hash_sha256"));
        }

        LoraConversion.Convert(destination, _folder.In("half.safetensors"), new LoraWriting { DType = ScalarType.Float16 });
        using var half = LoraFile.Read(_folder.In("half.safetensors"));
        Assert.Equal("F16", Assert.Single(half.StoredTypes));
        Assert.False(half.Metadata.ContainsKey("lora_adapter_metadata"));
        Assert.False(half.Metadata.ContainsKey("format"));
    }

    /// <summary>diffusers' file lies in a folder under its own name unless a file is named.</summary>
    [Theory]
    [InlineData("out", "out/pytorch_lora_weights.safetensors")]
    [InlineData("out.SAFETENSORS", "out.SAFETENSORS")]
    public void Convert_ToDiffusers_NamesTheFile(string destination, string expected)
    {
        LoraConversion.Convert(Kohya("a", Pair(Line, 1), []), _folder.In(destination), new LoraWriting { Kind = LoraFileKind.Diffusers });

        Assert.True(File.Exists(_folder.In(expected.Split('/'))));
    }

    /// <summary>SDXL's names are written for what is SDXL's by its networks, its blocks, its metadata, or because that is asked for.</summary>
    [Theory]
    [InlineData("unet", "down_blocks.1.attentions.0.proj_in", null, null, "lora_unet_down_blocks_1_attentions_0_proj_in")]
    [InlineData("unet", "down_blocks.1.attentions.0.proj_in", "sdxl_base_v1-0", null, "lora_unet_input_blocks_4_1_proj_in")]
    [InlineData("unet", "down_blocks.1.attentions.0.proj_in", "sdxl_base_v1-0", false, "lora_unet_down_blocks_1_attentions_0_proj_in")]
    [InlineData("unet", "down_blocks.1.attentions.0.proj_in", null, true, "lora_unet_input_blocks_4_1_proj_in")]
    [InlineData("unet", "down_blocks.1.attentions.0.transformer_blocks.1.norm1", null, null, "lora_unet_input_blocks_4_1_transformer_blocks_1_norm1")]
    [InlineData("text_encoder", "text_model.encoder.layers.0.mlp.fc1", null, null, "lora_te_text_model_encoder_layers_0_mlp_fc1")]
    [InlineData("text_encoder", "text_model.encoder.layers.0.mlp.fc1", null, true, "lora_te1_text_model_encoder_layers_0_mlp_fc1")]
    [InlineData("text_encoder_2", "text_model.encoder.layers.0.mlp.fc1", null, null, "lora_te2_text_model_encoder_layers_0_mlp_fc1")]
    public void Convert_ToKohya_WritesTheNamesOfTheModel(string network, string module, string? noted, bool? isSdxl, string expected)
    {
        SafetensorsFile.Write(
            _folder.In("a.safetensors"),
            new Dictionary<string, Tensor> { [$"{network}.{module}.lora_A.weight"] = ones(1, 4), [$"{network}.{module}.lora_B.weight"] = ones(4, 1) },
            noted is null ? null : new Dictionary<string, string> { ["ss_base_model_version"] = noted });

        LoraConversion.Convert(_folder.In("a.safetensors"), _folder.In("out.safetensors"), new LoraWriting { IsSdxl = isSdxl });

        Assert.Equal(
            [$"{expected}.alpha", $"{expected}.lora_down.weight", $"{expected}.lora_up.weight"],
            SafetensorsFile.LoadAll(_folder.In("out.safetensors")).Keys.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Convert_WithASecondTextEncoder_NamesTheFirstAsSdxls()
    {
        var tensors = new[] { "text_encoder", "text_encoder_2" }
            .SelectMany(network =>
                Pair("text_model.encoder.layers.0.mlp.fc1", 1).Select(pair => KeyValuePair.Create($"{network}.{pair.Key}", pair.Value))).ToDictionary();
        SafetensorsFile.Write(_folder.In("a.safetensors"), tensors);

        LoraConversion.Convert(_folder.In("a.safetensors"), _folder.In("out.safetensors"), new LoraWriting());

        Assert.Equal(
            ["lora_te1", "lora_te2"],
            SafetensorsFile.LoadAll(_folder.In("out.safetensors")).Keys.Select(static name => name[..8]).Distinct().Order(StringComparer.Ordinal));
    }

    /// <summary>An adapter of another model lies in the folder itself, one of several networks below.</summary>
    [Fact]
    public void Convert_OfAnotherModelsAdapter_WritesItIntoTheFolder()
    {
        PeftFolder.Write(_folder.In("a"), State(Pair("layers.0.q", 1), [], Configuration(["q"], 1)));

        LoraConversion.Convert(_folder.In("a"), _folder.In("b"), new LoraWriting { Kind = LoraFileKind.Peft });
        LoraConversion.Convert(Kohya("c", Pair(Line, 1), []), _folder.In("d"), new LoraWriting { Kind = LoraFileKind.Peft });

        Assert.True(PeftFolder.IsAt(_folder.In("b")));
        Assert.True(PeftFolder.IsAt(_folder.In("d", "unet")));
        Assert.False(PeftFolder.IsAt(_folder.In("d")));
    }

    [Fact]
    public void Convert_OfWhatPeftCannotSay_IsRefusedWithEveryReason()
    {
        var several = Kohya(
            "several",
            Pair(Line, 1)
                .Append(new($"{Conv}.hada_w1_a", ones(4, 1)))
                .Append(new($"{Conv}.hada_w1_b", ones(1, 3)))
                .Append(new($"{Conv}.hada_w2_a", ones(4, 1)))
                .Append(new($"{Conv}.hada_w2_b", ones(1, 3))).ToDictionary(),
            []);
        SafetensorsFile.Write(
            _folder.In("strange.safetensors"),
            Enumerable.Range(1, 4)
                .SelectMany(static i => new[]
                {
                    KeyValuePair.Create($"lora_unet_blocks_{i}_ffn.lokr_w1", ones(2, 2)),
                    KeyValuePair.Create($"lora_unet_blocks_{i}_ffn.lokr_w2", ones(2, 2)),
                }).ToDictionary());

        Assert.Equal("PEFT cannot say what these weights mean; keep the kohya file:\n- unet: several methods at once (Lora, Loha)", Refused(several));
        Assert.Equal(
            "PEFT cannot say what these weights mean; keep the kohya file:\n"
            + "- unet: modules of an architecture that is not Stable Diffusion's, whose dotted paths kohya's names do not tell: "
            + "blocks.1.ffn, blocks.2.ffn, blocks.3.ffn\n"
            + "- unet: LoKr, whose splitting PEFT derives from settings that the file does not have",
            Refused(_folder.In("strange.safetensors")));

        string Refused(string path) =>
            Assert.Throws<ArgumentException>(() => LoraConversion.Convert(path, _folder.In("out"), new LoraWriting { Kind = LoraFileKind.Peft })).Message;
    }

    /// <summary>The mean of several numbers is as good as its type, relative to their size.</summary>
    private sealed class Close : IEqualityComparer<(double, double)>
    {
        public bool Equals((double, double) x, (double, double) y) => Is(x.Item1, y.Item1) && Is(x.Item2, y.Item2);

        public int GetHashCode((double, double) pair) => 0;

        private static bool Is(double expected, double actual) => Math.Abs(expected - actual) <= 1e-5 * (1e-3 + Math.Abs(expected));
    }

    private static void AssertClose(Nd expected, Nd actual) => Assert.InRange(Fixtures.RelativeDifference(expected.ToTensor(), actual.ToTensor()), 0, 1e-5);

    private static double Norm(Nd values) => Math.Sqrt(values.Indices().Sum(i => values[i] * values[i]));

    private static LoraState State(Dictionary<string, Tensor> tensors, Dictionary<string, double> alphas, System.Text.Json.Nodes.JsonObject? config = null) =>
        new(tensors, alphas, config);

    private static System.Text.Json.Nodes.JsonObject Configuration(string[] targets, int rank) =>
        new LoraConfig { Rank = rank, Alpha = rank, TargetModules = ModuleSelection.Names(targets) }.ToPeftJson();

    private Dictionary<string, Tensor> Pair(string module, int rank) =>
        new() { [$"{module}.lora_A.weight"] = Draw(rank, 3), [$"{module}.lora_B.weight"] = Draw(4, rank) };

    private Dictionary<string, Tensor> Both(int line, int conv) =>
        Pair(Line, line).Append(new($"{Conv}.lora_A.weight", Draw(conv, 3, 3, 3))).Append(new($"{Conv}.lora_B.weight", Draw(4, conv, 1, 1))).ToDictionary();

    private Tensor Draw(params long[] shape) => randn(shape, generator: _generator);

    private string NotFinite(string ending)
    {
        var path = Kohya("nan", Pair(Line, 1), []);
        var tensors = SafetensorsFile.LoadAll(path);
        tensors.Single(pair => pair.Key.EndsWith(ending, StringComparison.Ordinal)).Value.fill_(float.NaN);
        SafetensorsFile.Write(path, tensors);
        return path;
    }

    private string Kohya(
        string name,
        Dictionary<string, Tensor> tensors,
        Dictionary<string, double> alphas,
        Dictionary<string, string>? facts = null,
        ScalarType type = ScalarType.Float32)
    {
        var path = _folder.In($"{name}.safetensors");
        KohyaFile.Write(path, [(new LoraPart("unet", "lora_unet", [Line, Conv]), State(tensors, alphas))], facts, type);
        return path;
    }

    /// <summary>s·B·A of each layer by plain loops over what the file or folder holds.</summary>
    private static Dictionary<string, Nd> Products(string path)
    {
        using var file = LoraFile.Read(path);
        return file.States.Values.SelectMany(static state => state.Ranks.Select(rank =>
        {
            var (A, B) = (Nd.Of(state.Tensors[$"{rank.Key}.lora_A.weight"]), Nd.Of(state.Tensors[$"{rank.Key}.lora_B.weight"]));
            var s = state.Config is { } config
                ? LoraConfig.FromPeftJson(config).ScaleOf(rank.Key)
                : state.Alphas.GetValueOrDefault(rank.Key, rank.Value) / rank.Value;
            var parts = new Dictionary<string, Nd> { ["lora_A.weight"] = A, ["lora_B.weight"] = B };
            return KeyValuePair.Create(rank.Key, PlainAdapter.Delta(parts, new Nd([B.Shape[0], .. A.Shape[1..]]), s));
        })).ToDictionary();
    }
}
