using System.Text.Json.Nodes;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>PEFT's folder and diffusers' file, name by name.</summary>
public sealed class PeftFolderTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        _folder.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Write_OfAnAdapter_GivesPeftsFilesToTheByte()
    {
        var config = new JsonObject
        {
            ["r"] = 2,
            ["peft_type"] = "LORA",
            ["inference_mode"] = false,
            ["target_modules"] = new JsonArray("é", "<q>"),
            ["alpha_pattern"] = new JsonObject(),
        };

        PeftFolder.Write(_folder.Path, State(config, ("a.lora_A.weight", ones(2, 3)), ("a.lora_B.weight", zeros(4, 2)), ("b.base_layer.bias", ones(4))));

        Assert.Equal(
            "{\n  \"alpha_pattern\": {},\n  \"inference_mode\": true,\n  \"peft_type\": \"LORA\",\n  \"r\": 2,\n  \"target_modules\": [\n    \"é\",\n"
                + "    \"<q>\"\n  ]\n}",
            File.ReadAllText(_folder.In("adapter_config.json")));
        Assert.False(config["inference_mode"]!.GetValue<bool>());
        Assert.Equal(
            RawSafetensors.Of(
                [("format", "pt")],
                [
                    ("base_model.model.a.lora_A.weight", "F32", [2, 3], RawSafetensors.Bytes(1, 1, 1, 1, 1, 1)),
                    ("base_model.model.a.lora_B.weight", "F32", [4, 2], new byte[32]),
                    ("base_model.model.b.base_layer.bias", "F32", [4], RawSafetensors.Bytes(1, 1, 1, 1)),
                ]),
            File.ReadAllBytes(_folder.In("adapter_model.safetensors")));
        Assert.True(PeftFolder.IsAt(_folder.Path));
        Assert.False(PeftFolder.IsAt(_folder.In("elsewhere")));
    }

    [Theory]
    [InlineData(null, ScalarType.Float64)]
    [InlineData(ScalarType.BFloat16, ScalarType.BFloat16)]
    public void Write_WithAType_GivesItToTheWeights(ScalarType? asked, ScalarType expected)
    {
        var state = State(Config("LORA"), ("a.lora_A.weight", ones(2, 3, ScalarType.Float64)), ("a.lora_B.weight", ones(4, 2, ScalarType.Float64)));

        PeftFolder.Write(_folder.In("peft"), state, asked);
        DiffusersLoraFile.Write(_folder.In("d.safetensors"), [(new LoraPart("unet", "x", []), state)], asked);

        Assert.All(
            SafetensorsFile.LoadAll(_folder.In("peft", "adapter_model.safetensors")).Concat(SafetensorsFile.LoadAll(_folder.In("d.safetensors"))),
            pair => Assert.Equal(expected, pair.Value.dtype));
    }

    /// <summary>A method's own parts have names, those of the others do not, nor has a core or LyCORIS' m of another shape.</summary>
    [Theory]
    [InlineData("LORA", "a.lora_A.weight", true)]
    [InlineData("LORA", "a.lora_embedding_A", true)]
    [InlineData("LORA", "a.bias", true)]
    [InlineData("LORA", "a.hada_w1_a", false)]
    [InlineData("LORA", "a.lokr_w1", false)]
    [InlineData("LORA", "a.lora_mid.weight", false)]
    [InlineData("LORA", "a.dora_scale", false)]
    [InlineData("LOHA", "a.hada_w1_a", true)]
    [InlineData("LOHA", "a.lora_A.weight", false)]
    [InlineData("LOHA", "a.lora_B.weight", false)]
    [InlineData("LOHA", "a.lora_embedding_B", false)]
    [InlineData("LOHA", "a.lora_magnitude_vector", false)]
    [InlineData("LOHA", "a.lokr_w2", false)]
    [InlineData("LOHA", "a.dora_scale", false)]
    [InlineData("LOKR", "a.lokr_w2", true)]
    [InlineData("LOKR", "a.hada_w1_a", false)]
    [InlineData("LOKR", "a.lora_mid.weight", false)]
    [InlineData(null, "a.lora_B.weight", true)]
    [InlineData(null, "a.hada_t1", false)]
    public void Write_OfAPart_IsOnlyForTheMethodThatHasIt(string? type, string name, bool holds)
    {
        var error = Record.Exception(() => PeftFolder.Write(_folder.In("peft"), State(type is null ? [] : Config(type), (name, ones(2, 3)))));

        Assert.Equal(holds ? null : $"PEFT's {type ?? "LORA"} adapters have no names for these; save as a kohya file:\n- {name} [2, 3]", error?.Message);
        Assert.Equal(holds, Directory.Exists(_folder.In("peft")));
    }

    /// <summary>LyCORIS' m, one number per output, becomes PEFT's: flat, or [1, out, 1, 1] of a convolution.</summary>
    [Theory]
    [InlineData(new long[] { 3, 1 }, new long[] { 3 })]
    [InlineData(new long[] { 3, 1, 1, 1 }, new long[] { 1, 3, 1, 1 })]
    public void Write_OfLycorisMagnitude_GivesPefts(long[] stored, long[] expected)
    {
        PeftFolder.Write(
            _folder.Path,
            State(Config("LORA"), ("a.lora_A.weight", ones(2, 3)), ("a.dora_scale", arange(3).to(ScalarType.Float32).reshape(stored))));

        var magnitude = SafetensorsFile.LoadAll(_folder.In("adapter_model.safetensors"))["base_model.model.a.lora_magnitude_vector"];
        Assert.Equal(expected, magnitude.shape);
        Assert.Equal([0f, 1, 2], magnitude.data<float>().ToArray());
    }

    [Theory]
    [InlineData(new long[] { 1, 3 })]
    [InlineData(new long[] { 3 })]
    public void Write_OfAMagnitudePerInput_IsRefused(long[] stored) =>
        Assert.Contains(
            "- a.dora_scale [",
            Assert.Throws<ArgumentException>(() =>
                PeftFolder.Write(_folder.Path, State(Config("LORA"), ("a.lora_A.weight", ones(2, 3)), ("a.dora_scale", ones(stored))))).Message);

    [Fact]
    public void Write_OfMagnitudesForSomeLayers_IsRefused()
    {
        var state = State(Config("LORA"), ("a.lora_A.weight", ones(2, 3)), ("a.lora_magnitude_vector", ones(3)), ("b.lora_A.weight", ones(2, 3)));

        Assert.EndsWith(
            "\n- lora_magnitude_vector of 1 of 2 layers; PEFT has it for all or for none",
            Assert.Throws<ArgumentException>(() => PeftFolder.Write(_folder.Path, state)).Message);
    }

    [Fact]
    public void Write_OfManyStrangeWeights_NamesTenInOrder()
    {
        var state = State(Config("LORA"), [.. Enumerable.Range(0, 12).Reverse().Select(static i => ($"m{i:00}.hada_t1", ones(1)))]);

        Assert.EndsWith(
            $":\n{string.Join('\n', Enumerable.Range(0, 10).Select(static i => $"- m{i:00}.hada_t1 [1]"))}\n- and 2 more",
            Assert.Throws<ArgumentException>(() => PeftFolder.Write(_folder.Path, state)).Message);
    }

    [Fact]
    public void Write_WithoutAConfiguration_IsRefused() => Assert.Equal(
        "The adapter has no configuration, and PEFT needs one (adapter_config.json); without it α is lost.",
        Assert.Throws<ArgumentException>(() => PeftFolder.Write(_folder.Path, State(null, ("a.lora_A.weight", ones(1, 1))))).Message);

    [Fact]
    public void Write_OfNumbersThatDoNotFit_WritesNeitherFile()
    {
        var state = State(Config("LORA"), ("a.lora_A.weight", full(1, 1, 1e6f)), ("a.lora_B.weight", ones(1, 1)));
        var broken = State(Config("LORA"), ("a.lora_A.weight", full(1, 1, float.NaN)));

        Assert.Contains(
            "- a.lora_A.weight (up to 1E+06, Float16)",
            Assert.Throws<ArgumentException>(() => PeftFolder.Write(_folder.In("peft"), state, ScalarType.Float16)).Message);
        Assert.Contains(
            "- unet.a.lora_A.weight (up to 1E+06, Float16)",
            Assert.Throws<ArgumentException>(() =>
                DiffusersLoraFile.Write(_folder.In("d.safetensors"), [(new LoraPart("unet", "x", []), state)], ScalarType.Float16)).Message);
        Assert.Contains(
            "- unet.a.lora_A.weight",
            Assert.Throws<InvalidDataException>(() => DiffusersLoraFile.Write(_folder.In("d.safetensors"), [(new LoraPart("unet", "x", []), broken)])).Message);
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void WriteDiffusers_OfSeveralNetworks_PutsTheirConfigurationsIntoTheMetadata()
    {
        var path = _folder.In("d.safetensors");

        DiffusersLoraFile.Write(
            path,
            [
                (new LoraPart("unet", "x", []), State(new JsonObject { ["r"] = 2, ["bias"] = null }, ("a.lora_A.weight", ones(1, 1)))),
                (new LoraPart("text_encoder", "y", []), State(new JsonObject { ["r"] = 4 }, ("a.lora_A.weight", ones(1, 1))))
            ],
            metadata: new Dictionary<string, string> { ["note"] = "kept", ["format"] = "tf", ["lora_adapter_metadata"] = "old" });

        using var file = SafetensorsFile.Open(path);
        Assert.Equal(["text_encoder.a.lora_A.weight", "unet.a.lora_A.weight"], file.Tensors.Keys);
        Assert.Equal(("kept", "pt"), (file.Metadata["note"], file.Metadata["format"]));
        Assert.Equal("{\n  \"text_encoder.r\": 4,\n  \"unet.bias\": null,\n  \"unet.r\": 2\n}", file.Metadata["lora_adapter_metadata"]);
    }

    [Fact]
    public void Read_OfAFolder_TakesWhatIsOfAnAdapterAndTellsTheRest()
    {
        Save(
            ("base_model.model.a.lora_A.default.weight", full(2, 3, 1f)),
            ("base_model.model.a.lora_B.default.weight", full(4, 2, 2f)),
            ("base_model.model.head.weight", full(2, 2, 3f)),
            ("b.lora_A.weight", full(1, 3, 4f)),
            ("b.lora_B.weight", full(4, 1, 5f)),
            ("strange.weight", ones(1)),
            ("c.alpha", ones(1)),
            ("c.diff", ones(1)));

        LoraState? state = null;
        var told = Heard.During(() => state = PeftFolder.Read(_folder.Path));

        Assert.Equal(
            [("a.lora_A.weight", 1f), ("a.lora_B.weight", 2f), ("b.lora_A.weight", 4f), ("b.lora_B.weight", 5f), ("head.weight", 3f)],
            state!.Tensors.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => (pair.Key, pair.Value.max().item<float>())));
        Assert.Equal(2, (int)state.Config!["r"]!);
        Assert.Contains("left out 2 tensors (PEFT's names begin with 'base_model.model.'): c.alpha, strange.weight", told);
        Assert.Contains("left out 1 tensor (whole differences of weights and biases", told);
        Assert.StartsWith($"'{_folder.In("adapter_model.safetensors")}': ", told);
        Assert.Contains("- unexpected: strange.weight", Assert.Throws<InvalidDataException>(() => PeftFolder.Read(_folder.Path, strict: true)).Message);
    }

    [Fact]
    public void Read_OfADamagedFolder_NamesWhatIsMissingAndWhatIsThereTwice()
    {
        Save(
            ("base_model.model.a.lora_A.one.weight", ones(2, 3)),
            ("base_model.model.a.lora_A.two.weight", ones(2, 3)),
            ("base_model.model.a.lora_B.one.weight", ones(4, 2)));

        var message = Assert.Throws<InvalidDataException>(() => PeftFolder.Read(_folder.Path)).Message;

        Assert.Contains(
            "- damaged: base_model.model.a.lora_A.two.weight (the file has this weight twice, maybe of two adapters; expected one adapter in a file)",
            message);
        Assert.Contains("- missing: base_model.model.a.lora_B.two.weight", message);
    }

    [Fact]
    public void Read_OfAFolderThatLacksAFile_SaysWhich()
    {
        Assert.Throws<FileNotFoundException>(() => PeftFolder.Read(_folder.Path));
        File.WriteAllText(_folder.In("adapter_config.json"), "{}");
        Assert.Contains("adapter_model.safetensors", Assert.Throws<FileNotFoundException>(() => PeftFolder.Read(_folder.Path)).Message);
    }

    private static JsonObject Config(string type) => new() { ["peft_type"] = type };

    private static LoraState State(JsonObject? config, params (string Name, Tensor Tensor)[] tensors) =>
        new(tensors.ToDictionary(static pair => pair.Name, static pair => pair.Tensor), config: config);

    private void Save(params (string Name, Tensor Tensor)[] tensors)
    {
        SafetensorsFile.Write(_folder.In("adapter_model.safetensors"), tensors.ToDictionary(static pair => pair.Name, static pair => pair.Tensor));
        File.WriteAllText(_folder.In("adapter_config.json"), """{"r": 2}""");
    }
}
