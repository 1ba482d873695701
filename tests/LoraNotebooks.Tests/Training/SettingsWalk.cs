using System.Collections;
using System.Globalization;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>
/// Every setting of a run, found by reflection, so that a new one is not forgotten: those of the records inside, too, as "Schedule.Warmup",
/// and of the usual optimizer, as "Optimizer.Beta1".
/// An adapter's settings are one setting.
/// </summary>
internal static class SettingsWalk
{
    /// <summary>Values to try, by type; the first that is another and has no fault is taken.</summary>
    private static readonly Dictionary<Type, object[]> Candidates = new()
    {
        [typeof(string)] = ["changed"],
        [typeof(bool)] = [true, false],
        [typeof(int)] = [3, 1],
        [typeof(long)] = [long.MaxValue, 0L],
        [typeof(double)] = [0.25, 0.125],
        [typeof(SamplerKind)] = [SamplerKind.EulerAncestral],
        [typeof(IReadOnlyList<string>)] = [(string[])["one", "two"]],
        [typeof(IReadOnlyList<RatePiece>)] = [(RatePiece[])[new(0.5, 3), new(0.25)]],
        [typeof(LoraConfig)] = [
            new LoraConfig { Rank = 3, Alpha = 0.1, TargetModules = ["fc1"], RankPattern = new OrderedDictionary<string, int> { ["fc2"] = 5 } },
        ],
    };

    /// <summary>The paths of all settings.</summary>
    public static IReadOnlyList<string> Paths { get; } = [.. PathsOf(new DiffusionTrainingConfig())];

    public static TheoryData<string> Rows() => [.. Paths];

    /// <summary>Settings that stand alone: those beside which every other can be changed.</summary>
    public static DiffusionTrainingConfig Base { get; } = new() { NoiseOffset = 0.1, SampleEveryEpochs = 1, SamplePrompts = ["x"], MaxTimestep = 500 };

    public static object? Get(DiffusionTrainingConfig config, string path) =>
        path.Split('.').Aggregate((object?)config, static (record, name) => record!.GetType().GetProperty(name)!.GetValue(record));

    /// <summary>The settings with one of them changed.</summary>
    public static DiffusionTrainingConfig With(DiffusionTrainingConfig config, string path, object? value) =>
        (DiffusionTrainingConfig)With((object)config, path.Split('.'), value);

    /// <summary>The settings with one of them changed to something that is right.</summary>
    public static DiffusionTrainingConfig Changed(string path)
    {
        var (outer, name) = path.LastIndexOf('.') is var dot and >= 0 ? (Get(Base, path[..dot])!, path[(dot + 1)..]) : (Base, path);
        var property = outer.GetType().GetProperty(name)!;
        var type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        IEnumerable<object> values = type.IsEnum ? Enum.GetValues(type).Cast<object>() : Candidates.GetValueOrDefault(type) ?? throw new NotSupportedException(
            $"Give {nameof(SettingsWalk)} a value of {type} for {path}.");
        return values.Select(value => With(Base, path, value)).First(config => !Same(Get(config, path), Get(Base, path)) && config.Validate().Count == 0);
    }

    public static bool Same(object? a, object? b) => Text(a) == Text(b);

    public static string Text(object? value) => value switch
    {
        null => "null",
        string text => text,
        LoraConfig lora => lora.ToPeftJson().ToJsonString(),
        IEnumerable items => string.Join(" | ", items.Cast<object>().Select(Text)),
        _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
    };

    private static IEnumerable<string> PathsOf(object record) =>
        record.GetType().GetProperties().Where(static property => property.SetMethod is not null).SelectMany(property =>
            IsRecord(property.PropertyType) ? PathsOf(property.GetValue(record)!).Select(path => $"{property.Name}.{path}") : [property.Name]);

    private static bool IsRecord(Type type) => type != typeof(LoraConfig) && type.IsClass && type.GetMethod("<Clone>$") is not null;

    private static object With(object record, ReadOnlySpan<string> path, object? value)
    {
        var copy = record.GetType().GetMethod("<Clone>$")!.Invoke(record, null)!;
        var property = record.GetType().GetProperty(path[0])!;
        property.SetValue(copy, path.Length == 1 ? value : With(property.GetValue(record)!, path[1..], value));
        return copy;
    }
}
