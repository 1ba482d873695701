using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>Scheduler configurations out of case files.</summary>
internal static class SchedulerTestConfig
{
    public static SchedulerConfig FromJson(JsonElement config, string? className = null)
    {
        var json = JsonObject.Create(config)!;
        if (className is not null)
        {
            json["_class_name"] = className;
        }

        return SchedulerConfig.FromJson(json, "case");
    }
}
