using System.Globalization;
using System.Text;
using System.Text.Json;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Comparison;

/// <summary>The index of a saved grid holds every setting: the tests walk the properties, so that one that is added and forgotten fails.</summary>
public sealed class XyzIndexTests : IDisposable
{
    private static readonly Dictionary<string, string> NotOfACell = new()
    {
        [nameof(GenerationOptions.Count)] = "a cell is one image",
        [nameof(GenerationOptions.BatchSize)] = "changes time and memory, not the image",
    };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(".")]
    [InlineData(",")]
    public void SaveThenLoad_EveryPropertySet_GivesTheSameSettings(string decimalSeparator)
    {
        var before = CultureInfo.CurrentCulture;
        var culture = (CultureInfo)CultureInfo.InvariantCulture.Clone();
        culture.NumberFormat.NumberDecimalSeparator = decimalSeparator;
        CultureInfo.CurrentCulture = culture;
        try
        {
            var settings = AllSet() with { LoraWeight = 0.1 + 0.2 };
            new XyzGrid(settings, XyzAxis.Seed(1, long.MaxValue), XyzAxis.Guidance(settings.Guidance)).Run(new Painter()).Save(_folder.Path);

            var entries = XyzIndex.Load(_folder.Path);

            Assert.Equal([settings with { Seed = 1 }, settings with { Seed = long.MaxValue }], entries.Select(static entry => entry.Settings));
            Assert.Equal([("1", "0.3333", null), ("9223372036854775807", "0.3333", null)], entries.Select(static entry => (entry.X, entry.Y, entry.Z)));
            Assert.All(entries, entry => Assert.True(File.Exists(_folder.In(entry.File))));
            Assert.All(entries, static entry => Assert.Equal(new Dictionary<string, string> { ["painter"] = "grey, 4×4" }, entry.Facts));
            Assert.Equal(entries.Select(static entry => entry.File), XyzIndex.Load(_folder.In("index.json")).Select(static entry => entry.File));
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }
    }

    [Fact]
    public void Save_Table_HasAColumnForEveryPropertyWithAllDigits()
    {
        new XyzGrid(AllSet(), XyzAxis.Guidance(0.1 + 0.2)).Run(new Painter()).Save(_folder.Path);

        var table = File.ReadAllText(_folder.In("index.csv"));
        var columns = table[..table.IndexOf('\n')].Split(',');
        Assert.All(typeof(XyzSettings).GetProperties().Select(static property => JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name)), name =>
            Assert.Contains(columns, column => column == name || column.StartsWith(name + "_", StringComparison.Ordinal)));
        Assert.Equal(["file", "x", "y", "z", "prompt", "negative_prompt"], columns[..6]);
        Assert.All(
            (string[])["seed", "steps", "guidance", "sampler", "checkpoint", "lora_weight", "reading_max_token_length", "painter"],
            name => Assert.Contains(name, columns));
        Assert.Contains(",0.30000000000000004,", table);
        Assert.Contains("\"grey, 4×4\"", table);
    }

    [Fact]
    public void Load_OlderIndex_HasDefaultsForWhatItLacks()
    {
        File.WriteAllText(_folder.In("index.json"), """
            [{
              "file": "a.png", "x": "1", "y": null, "z": null, "prompt": "p", "negative_prompt": "", "seed": 4, "steps": 5, "guidance": 1.5,
              "sampler": 2, "checkpoint": null, "lora_weight": 0.5
            }]
            """);

        var expected = new XyzSettings { Prompt = "p", Seed = 4, Steps = 5, Guidance = 1.5, Sampler = SamplerKind.Euler, LoraWeight = 0.5 };
        Assert.Equal(expected, Assert.Single(XyzIndex.Load(_folder.Path)).Settings);
    }

    /// <summary>An index as it has been written since its settings were a record of their own: the names, their order and every digit stay.</summary>
    [Fact]
    public void Load_StoredIndex_IsReadAndWrittenAgainByteForByte()
    {
        const string stored = """
            [
              {
                "file": "z01-y01-x01_prompt-cat_lora-weight-0.3_seed-1.png",
                "x": "1",
                "y": "0.3",
                "z": "cat",
                "prompt": "a cat, \"é\"\n帽子",
                "negative_prompt": "no cat",
                "seed": -9007199254740993,
                "steps": 7,
                "guidance": 0.3333333333333333,
                "sampler": "DpmPlusPlus2SAncestral",
                "spacing": "Karras",
                "eta": 0.25,
                "clip_skip": 2,
                "reading": {
                  "max_token_length": 150,
                  "weighting": "KeepMean"
                },
                "checkpoint": "runs/mika/last.safetensors",
                "lora_weight": 0.30000000000000004,
                "width": 24,
                "height": 40,
                "model": "bases/small"
              }
            ]

            """;
        File.WriteAllText(_folder.In("index.json"), stored);

        var entry = Assert.Single(XyzIndex.Load(_folder.Path));

        var settings = new XyzSettings
        {
            Prompt = "a cat, \"é\"\n帽子",
            NegativePrompt = "no cat",
            Seed = -9007199254740993,
            Steps = 7,
            Guidance = 1 / 3.0,
            Sampler = SamplerKind.DpmPlusPlus2SAncestral,
            Spacing = SigmaSpacing.Karras,
            Eta = 0.25,
            ClipSkip = 2,
            Reading = new PromptReading { MaxTokenLength = 150, Weighting = PromptWeighting.KeepMean },
            Checkpoint = "runs/mika/last.safetensors",
            LoraWeight = 0.1 + 0.2,
            Width = 24,
            Height = 40,
        };
        Assert.Equal((settings, "bases/small"), (entry.Settings, Assert.Single(entry.Facts).Value));
        var files = XyzIndex.Files([entry]).ToDictionary(static file => file.Name, static file => Encoding.UTF8.GetString(file.Content));
        Assert.Equal(stored, files["index.json"]);
        Assert.StartsWith(
            "file,x,y,z,prompt,negative_prompt,seed,steps,guidance,sampler,spacing,eta,clip_skip,reading_max_token_length,reading_weighting,checkpoint,lora_weight,width,height,model\n",
            files["index.csv"],
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{}", "no list")]
    [InlineData("[null]", "null")]
    [InlineData("[1]", "JsonObject")]
    [InlineData("""[{"x": "1", "prompt": "p"}]""", "no file")]
    [InlineData("""[{"file": "a.png", "prompt": "p"}]""", "no x")]
    [InlineData("""[{"file": "a.png", "x": "1", "prompt": "p", "model": null}]""", "model is null")]
    [InlineData("""[{"file": "a.png", "x": "1"}]""", "prompt")]
    [InlineData("""[{"file": "a.png", "x": "1", "prompt": "p", "seed": "many"}]""", "seed")]
    [InlineData("""[{"file": "a.png", "x": "1", "prompt": "p", "seed": 1, "seed": 2}]""", "seed")]
    [InlineData("""[{"file": "a.png", "x": "1", "prompt": "p", "speed": 7}]""", "no index of a saved grid")]
    public void Load_DamagedIndex_SaysWhatIsWrong(string text, string expected)
    {
        File.WriteAllText(_folder.In("index.json"), text);
        var error = Assert.Throws<InvalidDataException>(() => XyzIndex.Load(_folder.Path));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.Contains("Expected a list of objects with prompt, negative_prompt, seed, steps,", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_NoIndex_SaysWhatToGive()
    {
        var error = Assert.Throws<FileNotFoundException>(() => XyzIndex.Load(_folder.Path));
        Assert.Contains("the folder that a grid was saved to", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Settings_EverythingThatDecidesAPicture_IsASettingAndReachesThePipeline()
    {
        var settings = AllSet();
        var options = new GenerationOptions(settings);
        Assert.All(typeof(GenerationOptions).GetProperties().Where(static property => !NotOfACell.ContainsKey(property.Name)), property =>
        {
            var own = typeof(XyzSettings).GetProperty(property.Name);
            Assert.True(own is not null, $"{property.Name} decides a picture and is no setting of a grid; add it, or list it here with a reason");
            Assert.Equal(own.GetValue(settings), property.GetValue(options));
        });
    }

    /// <summary>Settings of which every property differs from its default.</summary>
    private static XyzSettings AllSet()
    {
        var plain = new XyzSettings { Prompt = "" };
        var settings = plain with { };
        foreach (var property in typeof(XyzSettings).GetProperties())
        {
            property.SetValue(settings, property.PropertyType switch
            {
                var type when type == typeof(string) => $"{property.Name}, \"é\"\n帽子 </x>",
                var type when type == typeof(int) || type == typeof(int?) => 24,
                var type when type == typeof(long) => -9007199254740993,
                var type when type == typeof(double) => 1 / 3.0,
                var type when type == typeof(SamplerKind) => SamplerKind.DpmPlusPlus2SAncestral,
                var type when type == typeof(SigmaSpacing?) => SigmaSpacing.Timesteps,
                var type when type == typeof(PromptReading) => new PromptReading { MaxTokenLength = 150, Weighting = PromptWeighting.KeepMean },
                var type => throw new NotSupportedException($"{property.Name} is a {type}; say here what value it takes"),
            });
            Assert.NotEqual(property.GetValue(plain), property.GetValue(settings));
        }

        return settings;
    }

    private sealed class Painter : IXyzRenderer
    {
        public RgbImage Render(XyzSettings settings, CancellationToken cancellationToken) => new(4, 4, new byte[48]);

        public IReadOnlyDictionary<string, string> Facts(XyzSettings settings) => new Dictionary<string, string> { ["painter"] = "grey, 4×4" };
    }
}
