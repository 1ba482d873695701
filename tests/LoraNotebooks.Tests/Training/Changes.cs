using System.Reflection;
using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

/// <summary>A record with one property changed at a time, so that none can be forgotten: one of an unknown kind fails the test that walks.</summary>
internal static class Changes
{
    /// <summary>The properties that can be set, those of nested settings, which may be of a derived type, as Outer.Inner.</summary>
    public static IEnumerable<string> Names(Type record, params Type[] nested) =>
        Settable(record).SelectMany(property => Array.Find(nested, property.PropertyType.IsAssignableFrom) is { } type
            ? Names(type, nested).Select(inner => $"{property.Name}.{inner}")
            : [property.Name]);

    /// <summary>A copy with another value at a name.</summary>
    /// <param name="record">The record.</param>
    /// <param name="name">A name of <see cref="Names"/>.</param>
    /// <param name="values">Values for properties that cannot have just any, by name.</param>
    public static T With<T>(T record, string name, IReadOnlyDictionary<string, object>? values = null)
        where T : class
    {
        var copy = record.GetType().GetMethod("<Clone>$")!.Invoke(record, null)!;
        var (head, tail) = name.Split('.', 2) is [var outer, var inner] ? (outer, inner) : (name, null);
        var property = copy.GetType().GetProperty(head)!;
        var value = property.GetValue(copy);
        property.SetValue(copy, tail is not null ? With(value!, tail, values) : values?.GetValueOrDefault(head) ?? Other(property, value));
        return (T)copy;
    }

    private static IEnumerable<PropertyInfo> Settable(Type record) =>
        record.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(static property => property.SetMethod is { IsPublic: true });

    private static object Other(PropertyInfo property, object? value)
    {
        var type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        ModuleSelection selection = ["conv_in"];
        return value switch
        {
            bool flag => !flag,
            int number => number + 1,
            long number => number + 1,
            double number => number + 0.125,
            string text => text + "2",
            AdapterMethod method => AdapterMethod.All.First(other => other != method),
            Enum kind => Enum.GetValues(type).Cast<object>().First(other => !other.Equals(kind)),
            _ when type == typeof(SamplerKind) => SamplerKind.All.First(other => other != value),
            null when type == typeof(int) => 2,
            null when type == typeof(double) => 0.5,
            null when type.IsEnum => Enum.GetValues(type).GetValue(0)!,
            _ when type == typeof(ModuleSelection) => selection,
            _ when type == typeof(IReadOnlyList<string>) => (string[])["other"],
            _ when type == typeof(IReadOnlyList<int>) => (int[])[1],
            _ when type == typeof(IReadOnlyList<double>) => (double[])[0.01, 0.02, 0.03],
            _ when type == typeof(IReadOnlyList<RatePiece>) => (RatePiece[])[new(0.5)],
            _ when type == typeof(IReadOnlyDictionary<string, int>) => new OrderedDictionary<string, int> { ["to_q"] = 3 },
            _ when type == typeof(IReadOnlyDictionary<string, double>) => new OrderedDictionary<string, double> { ["to_q"] = 3 },
            _ when type == typeof(IReadOnlyDictionary<string, JsonNode?>) => new Dictionary<string, JsonNode?> { ["other"] = 1 },
            _ => throw new NotSupportedException($"{property.DeclaringType!.Name}.{property.Name} is of a new kind, {type}: say what another value of it is."),
        };
    }
}
