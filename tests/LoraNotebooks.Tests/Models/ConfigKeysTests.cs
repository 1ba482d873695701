using System.Reflection;
using System.Text.Json.Nodes;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Tests.Models;

/// <summary>Each property of a configuration has a key: what is set is written, and what is written is read.</summary>
public sealed class ConfigKeysTests
{
    private static readonly Dictionary<Type, Func<string, object>> Loaders = new()
    {
        [typeof(UNetConfig)] = UNetConfig.Load,
        [typeof(AutoencoderKLConfig)] = AutoencoderKLConfig.Load,
        [typeof(ClipTextConfig)] = ClipTextConfig.Load,
        [typeof(LlamaConfig)] = LlamaConfig.Load,
        [typeof(Qwen2Config)] = Qwen2Config.Load,
        [typeof(Gpt2Config)] = Gpt2Config.Load,
    };

    public static TheoryData<Type> Types => [.. Loaders.Keys];

    [Theory]
    [MemberData(nameof(Types))]
    public void Properties_OtherThanTheDefault_AreWrittenAndReadAgain(Type type)
    {
        using var folder = new TemporaryFolder();
        var defaults = Activator.CreateInstance(type)!;
        foreach (var property in type.GetProperties().Where(static property => property.CanWrite && property.Name != "Extra"))
        {
            var changed = Activator.CreateInstance(type)!;
            property.SetValue(changed, Other(property.GetValue(defaults), property));
            var json = (JsonObject)type.GetMethod("ToJson", [])!.Invoke(changed, null)!;
            File.WriteAllText(folder.In("config.json"), json.ToJsonString());

            Assert.False(JsonNode.DeepEquals(json, (JsonObject)type.GetMethod("ToJson", [])!.Invoke(defaults, null)!), property.Name);
            Assert.Equal(json.ToJsonString(), Again(type, folder.In("config.json"), property).ToJsonString());
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Load_OfAnEmptyFile_HasTheDefaults(Type type)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("config.json"), "{}");
        var loaded = Loaders[type](folder.In("config.json"));
        var defaults = Activator.CreateInstance(type)!;

        Assert.Equal(
            ((JsonObject)type.GetMethod("ToJson", [])!.Invoke(defaults, null)!).ToJsonString(),
            ((JsonObject)type.GetMethod("ToJson", [])!.Invoke(loaded, null)!).ToJsonString());
    }

    [Theory]
    [InlineData("{}", 4096, 32)]
    [InlineData("""{ "sliding_window": null, "num_key_value_heads": null }""", null, 32)]
    [InlineData("""{ "sliding_window": 7, "num_key_value_heads": 4 }""", 7, 4)]
    public void Load_AbsentAndNull_AreToldApartWhereNullMeansSomething(string json, int? window, int heads)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("config.json"), json);
        var config = Qwen2Config.Load(folder.In("config.json"));
        Assert.Equal((window, heads), (config.SlidingWindow, config.KeyValueHeads));
    }

    /// <summary>What the file makes of it; faults of several keys together, such as a list of another length, tell as much.</summary>
    private JsonObject Again(Type type, string path, PropertyInfo property)
    {
        try
        {
            return (JsonObject)type.GetMethod("ToJson", [])!.Invoke(Loaders[type](path), null)!;
        }
        catch (InvalidDataException error)
        {
            var written = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
            Assert.True(written.Any(pair => error.Message.Contains($"- {pair.Key}: got ", StringComparison.Ordinal)), $"{property.Name}: {error.Message}");
            return written;
        }
    }

    private static object Other(object? value, PropertyInfo property) => value switch
    {
        bool flag => !flag,
        int number => number * 2,
        double number => number / 2 + 0.25,
        string when property.Name == "HiddenAct" => "gelu",
        null when property.PropertyType == typeof(string) => "text_time",
        null when property.PropertyType == typeof(double?) => 0.5,
        null => 16,
        PerBlock<int> one => new PerBlock<int>(one[0] * 2),
        PerBlock<bool> one => new PerBlock<bool>(!one[0]),
        IReadOnlyList<string> list => (string[])[.. list, "full_attention"],
        IReadOnlyList<int> list => (int[])[.. list.Select(static size => size * 2)],
        RotaryConfig rotary => rotary with { Theta = 7 },
        _ => throw new InvalidOperationException($"{property.Name} needs another value to try"),
    };
}
